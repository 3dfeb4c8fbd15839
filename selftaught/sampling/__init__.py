"""Sampling: how a task is attempted.

One block a file, each a `Sampler` that turns a task into a group of rollouts; `runner` drives one over many tasks with
bounded concurrency, a journal and progress. Whether a rollout is right is `verification`'s business, and talking to
an endpoint is `selftaught.inference.endpoint`'.
"""
