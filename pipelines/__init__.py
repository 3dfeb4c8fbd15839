"""The pipelines; `compiled/` holds what runs."""
