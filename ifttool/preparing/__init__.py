"""One row → the texts to encode and what bears loss in them: reading, rendering, options; no token yet."""
