"""What engines do around vLLM's own server: ASGI middleware, one subject a file."""
