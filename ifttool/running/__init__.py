"""Runs that are written down: recipe files, manifests that are run again, dependency files for make."""
