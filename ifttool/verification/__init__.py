"""Checking finished shards against their manifest and against the conversations they were made from."""
