"""Chat templates: loading, rendering, tracing and finding turns."""
