"""The verify component."""
