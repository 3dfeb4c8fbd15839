"""Serving: how a model version becomes an endpoint, who owns its processes, and the proof of its weights."""
