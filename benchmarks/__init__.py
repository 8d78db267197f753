"""Benchmarks: one script a question, all sides side by side in one run. ``python -m benchmarks`` runs them all."""
