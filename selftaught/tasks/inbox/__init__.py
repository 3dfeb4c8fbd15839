"""Tasks and feedback that are uploaded while a line is in use, in batches."""
