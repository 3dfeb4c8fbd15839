"""Verification: is a rollout right?

One block a file, each a `Verifier` that gives one verdict a rollout; `answers` reads and compares final answers, and
`runner` drives the verifiers over many groups and attributes their failures. What becomes of a verdict is
`curation`'s and `evaluation`'s business.
"""
