"""Selftaught: language models that teach themselves, as Kubernetes-native pipelines.

The library behind the components: every step of a round can be called from here without Kubeflow.
Start with `selftaught.recipe` (what a method is) and `selftaught.campaign` (how it is run).
"""

__version__ = "0.1.0"
