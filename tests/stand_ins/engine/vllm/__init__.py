"""A stand-in for vLLM: put this folder on PYTHONPATH and the platform's engines are recorded ones, up in no time."""
