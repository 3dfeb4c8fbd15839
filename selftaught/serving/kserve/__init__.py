"""Serving on a cluster: one InferenceService a version."""
