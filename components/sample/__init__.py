"""The sample component."""
