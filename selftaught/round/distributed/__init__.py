"""One training in several processes: on this machine, or on the nodes of a TrainJob."""
