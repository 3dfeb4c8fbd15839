"""Tasks and feedback that arrive while a line is in use, batch by batch."""
