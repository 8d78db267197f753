"""Finished shards → the layouts of trainers that don't read Parquet. One module for each target."""
