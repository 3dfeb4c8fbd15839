"""A recipe run for its rounds on one model line: on this machine, or on Kubeflow Pipelines."""
