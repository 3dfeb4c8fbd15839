"""ASGI middleware around vLLM's own server, one concern per file."""
