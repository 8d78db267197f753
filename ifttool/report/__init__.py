"""Reports: results as text, JSON or pages. Nothing here reads data or prints."""
