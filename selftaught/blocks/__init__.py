"""Blocks: the base class of every axis of a recipe, the registry, and the context that blocks get.

A block is a config that acts: a frozen pydantic class whose fields are the YAML and whose method does the work. Each
block is one file in the folder of its step; naming its `type` registers it. Nothing here knows a concrete block:
recipes are resolved in `selftaught.recipe`, and third parties add blocks through the entry-point group
`selftaught.blocks` (each entry names a module that defines them).
"""

from selftaught.blocks.axes import (
    Attempts,
    Control,
    Curator,
    Gate,
    HeldTo,
    Metric,
    Objective,
    RolloutVerifier,
    Sampler,
    StageView,
    TaskSource,
    Verifier,
    judged,
)
from selftaught.blocks.block import Block, OneOf, OnlyFor, current, present, registered, within
from selftaught.blocks.context import Context, Draw, Earlier, ProgressSink, TrainContext, silent
from selftaught.blocks.environment import Environment, Episode, Observation, environment_of
from selftaught.blocks.models import ChatModel, Completion, Drawing, Drawn, Stops, TokenModel
from selftaught.blocks.online import Experience, Gathered, LivePolicy, OnlinePlan, Peers
from selftaught.blocks.results import (
    Check,
    Decision,
    Evidence,
    Explanation,
    Margin,
    Measured,
    Observed,
    Outcome,
    Outlook,
    Over,
    State,
    TrainResult,
)

__all__ = [
    "Attempts",
    "Block",
    "ChatModel",
    "Check",
    "Completion",
    "Context",
    "Control",
    "Curator",
    "Decision",
    "Draw",
    "Drawing",
    "Drawn",
    "Earlier",
    "Environment",
    "Episode",
    "Evidence",
    "Experience",
    "Explanation",
    "Gate",
    "Gathered",
    "HeldTo",
    "LivePolicy",
    "Margin",
    "Measured",
    "Metric",
    "Objective",
    "Observation",
    "Observed",
    "OneOf",
    "OnlinePlan",
    "OnlyFor",
    "Outcome",
    "Outlook",
    "Over",
    "Peers",
    "ProgressSink",
    "RolloutVerifier",
    "Sampler",
    "StageView",
    "State",
    "Stops",
    "TaskSource",
    "TokenModel",
    "TrainContext",
    "TrainResult",
    "Verifier",
    "current",
    "environment_of",
    "judged",
    "present",
    "registered",
    "silent",
    "within",
]
