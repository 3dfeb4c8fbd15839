"""Process reward models as transformers computes them: a classifier of every token, read where a step's tag stands.

Two kinds of architecture are known: Qwen2ForProcessRewardModel (Qwen2.5-Math-PRM, arXiv 2501.07301), which transformers
has no class for and whose authors' code is never run (a Qwen2 backbone, two linear layers and two classes), and
transformers' own token classifiers, as TRL's PRMTrainer makes them. Engines that serve one are compared with it. How a
solution is put to it is the asking block's business (`selftaught.search.rewards`).
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

from selftaught.state.weights import PROCESS_REWARD


def loader(folder: Path) -> Any:
    """The class of transformers' that loads the model in `folder`."""
    import transformers

    if json.loads((folder / "config.json").read_bytes())["architectures"] == [PROCESS_REWARD]:
        return model_class()
    return cast(Any, transformers).AutoModelForTokenClassification


@cache
def model_class() -> Any:
    """The architecture as a class of transformers'."""
    from torch import nn
    from transformers import Qwen2Config, Qwen2Model, Qwen2PreTrainedModel

    class Qwen2ForProcessRewardModel(Qwen2PreTrainedModel):
        def __init__(self, config: Qwen2Config) -> None:
            super().__init__(config)  # pyright: ignore[reportUnknownMemberType]
            width = config.hidden_size
            self.model = Qwen2Model(config)
            self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
            self.post_init()

    return Qwen2ForProcessRewardModel


def classes_of(model: Any, token_ids: Sequence[int]) -> list[list[float]]:
    """The logit of each class at each token (tokens x classes) under a model that `loader` loads."""
    import torch

    with torch.inference_mode():
        hidden = model.model(torch.tensor([token_ids], device=model.device), use_cache=False).last_hidden_state
        return model.score(hidden[0]).float().tolist()
