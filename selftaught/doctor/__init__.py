"""What is missing for a first round, and what gets it: on this machine, and on a cluster."""
