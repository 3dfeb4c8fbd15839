"""The training loops behind the objectives. They import torch and TRL, so only an objective's `train` imports them."""
