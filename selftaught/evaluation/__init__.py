"""Evaluation: what a model scores on held-out tasks, against its former self, and the gate that decides.

`runner` measures, the metric blocks say what, `paired_gain` decides; the statistics are in
`selftaught.core.statistics`.
"""
