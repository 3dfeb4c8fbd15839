"""Checks what is missing for a first round, and how to get it: on this machine, and on a cluster."""
