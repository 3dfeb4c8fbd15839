"""The steps of one round, as functions of a job and of paths: what the components call, and called like them.

Each module is one step: it reads its inputs, hands them to the step's runner with the models, the journal and the
progress that this machine has, and keeps what comes out under the digest of what went in, so that a step that is
killed or run twice has the same result. Which steps follow which is `pipelines/round.py`'s business.
"""
