"""The template doctor: what a chat template does to training text, found out before anything is trained."""
