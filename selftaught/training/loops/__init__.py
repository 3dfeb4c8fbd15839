"""The training loop behind the objectives. It imports torch, so only an objective's `train` imports it."""
