"""Whether the roles of a search are played by models that can be asked as its blocks ask them, before a round begins.

A process reward model is asked for the classes of its tag (`process_reward`), a causal one for a reply
(`reply_reward`), any other value model by the policy's token ids. Each refuses what the others are asked, but only when
the first tree has begun.
"""

import json
from collections.abc import Mapping

from selftaught.core.errors import BadInput, BadRecipe
from selftaught.core.unproven import is_unproven
from selftaught.platform import Platform
from selftaught.recipe import Recipe, Stage
from selftaught.round.checks.step_tags import require_readable
from selftaught.round.checks.tokenizers import BY_IDS, blocks_of, tokenizer_file
from selftaught.round.job import ModelRef
from selftaught.search.rewards import ProcessReward, ReplyReward
from selftaught.state.weights import PROCESS_REWARDS, is_process_reward


def require_named(recipe: Recipe) -> None:
    """Raise BadRecipe where a search of `recipe` asks a process reward model of a role that has none."""
    for stage in map(recipe.with_sets, recipe.stages):
        for block in blocks_of(stage, ProcessReward, ReplyReward):
            if block.role == "policy" or block.role not in recipe.models:
                raise BadRecipe(
                    f"{recipe.name}: stages.{stage.name}: {block.name} uses the {block.role} model, and models names "
                    f"no such process reward model. Add one to models: {{policy: …, reward: <folder or hub id>}}, and "
                    "say which role it plays: role: reward."
                )


def require_asked_rightly(platform: Platform, stage: Stage, roles: Mapping[str, ModelRef]) -> None:
    """Raise BadInput where a block of `stage` asks a model of `roles` for what it does not give.

    What a model behind a URL gives, its server says.
    """
    proven = {role: model for role, model in roles.items() if not is_unproven(model.digest)}
    for block in (each for each in blocks_of(stage, ProcessReward) if each.role in proven):
        if not _is_process_reward(platform, roles[block.role]):
            raise BadInput(
                f"{stage.name}: the {block.role} model ({roles[block.role].digest[:8]}) is not a process reward model "
                f"that can be served ({', '.join(PROCESS_REWARDS)}), which process_reward asks. Take one, or value "
                "steps by value_model or p_true."
            )
    for block in blocks_of(stage, *BY_IDS, ReplyReward):
        if block.role in proven and _is_process_reward(platform, roles[block.role]):
            how = "for a reply" if isinstance(block, ReplyReward) else "by the policy's token ids"
            raise BadInput(
                f"{stage.name}: the {block.role} model ({roles[block.role].digest[:8]}) is a process reward model, and "
                f"{block.name} asks {how}. Ask for its classes: {{type: process_reward, role: {block.role}}}."
            )

    for block in (each for each in blocks_of(stage, ProcessReward, ReplyReward) if each.role in proven):
        model = roles[block.role]
        where = f"{stage.name}: {block.name} of the {block.role} model ({model.digest[:8]})"
        require_readable(where, block, _config(platform, model), tokenizer_file(platform, model))


def _is_process_reward(platform: Platform, model: ModelRef) -> bool:
    return is_process_reward(_config(platform, model))


def _config(platform: Platform, model: ModelRef) -> dict[str, object]:
    return json.loads(platform.store.read("models", model.digest, "config.json"))
