"""Whether exactly the right tokens bear loss."""
