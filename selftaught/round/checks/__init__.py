"""What is checked before a round spends anything: whether its models, prompts and tasks are fit."""
