"""Asking a served model: the client of OpenAI-compatible endpoints, and how much it asks at once."""
