"""What outlives a process: the store, the journal, MLflow, and models by name and by digest."""
