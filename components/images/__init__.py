"""The images that components run in: `steps` is light, `trainer` has torch.

A release pins digests when it submits a pipeline; the tag here only names the version.
"""

STEPS = "selftaught/steps:0.1.0"
TRAINER = "selftaught/trainer:0.1.0"
