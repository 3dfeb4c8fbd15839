"""The client of OpenAI-compatible endpoints, and its concurrency limit."""
