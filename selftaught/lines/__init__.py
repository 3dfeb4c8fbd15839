"""A line of models between its rounds: versions, state, serving, measuring, watching."""
