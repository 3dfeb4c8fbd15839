"""A model line between its rounds: versions, status, serving, measuring, monitoring."""
