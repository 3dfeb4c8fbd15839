"""A round: one pass through a stage, from tasks to a decision; what is fixed of it, what it goes by, and its steps.

`job` is the input of every step, `history` the rounds that were, `intake` the tasks that are new; `steps` are what the
components call, each inside `step.step`. Which steps follow which is `pipelines/round.py`'s business.
"""
