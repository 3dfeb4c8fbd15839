"""Serving on a cluster: one InferenceService per version."""
