"""Where vLLM has its OpenAI-compatible server."""
