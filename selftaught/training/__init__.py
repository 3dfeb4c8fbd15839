"""Training: objectives that turn examples into a changed model. `loops/` holds what needs torch."""
