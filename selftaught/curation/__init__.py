"""Curation: how verified groups become training examples.

One block a file, each a `Curator`; `base` holds what the curators that pick single rollouts share, and `runner`
chains the curators of a stage. A round's input decides everything here: equal groups and seed give equal examples.
"""
