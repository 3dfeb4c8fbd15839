"""Step labels: export of search trees as training rows of process reward models, and import of such rows."""
