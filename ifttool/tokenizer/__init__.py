"""Tokenizers: loading and encoding."""
