"""Steps with labels: searched trees as the rows that process reward models are trained on, and such rows of others."""
