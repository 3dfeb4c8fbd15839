"""Persistent state: the store, the journal, MLflow, and models by name and by digest."""
