"""The images that components run in: `steps` is light, `trainer` has torch.

`localhost` is no registry: a run that is started with the compiled pipeline as it is finds the images on the nodes, or
none. A release names its registry and digests when it submits a pipeline; the tag here only names the version.
"""

STEPS = "localhost/selftaught/steps:0.1.0"
TRAINER = "localhost/selftaught/trainer:0.1.0"
