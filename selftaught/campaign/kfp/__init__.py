"""Rounds on Kubeflow Pipelines: its client, versions of pipelines, runs of them, schedules."""
