"""Serving: from a model version to an endpoint, ownership of its processes, and verification of its weights."""
