"""adopt: bring a recipe's models into the line: into the store by digest, and the policy into the registry.

Done once a line: where it has a champion, that one continues. The adopted policy becomes version 1 and is `base`,
`head` and `champion` at once.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from selftaught.cluster.naming import version_name
from selftaught.core.errors import BadInput
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.recipe.models import names
from selftaught.round.checks.tokenizers import blocks_of
from selftaught.round.in_use import elsewhere
from selftaught.round.job import ModelRef
from selftaught.round.mlflow_model import put_model
from selftaught.search.rewards import ProcessReward, ReplyReward
from selftaught.serving.weight_check import Reference, process_reward, reference_logprobs, values
from selftaught.state.ledger import ReferenceEntry, RoleEntry
from selftaught.state.starter import repository, resolve
from selftaught.state.tracking import Version
from selftaught.state.weights import check_model, model_digest
from selftaught.training.suitable import check_asked, check_suitable


def adopt(platform: Platform, recipe: Recipe, line: str) -> Version:
    """The champion of `line`; the recipe's policy model becomes it when the line is new.

    Raises BadInput when the model is missing, truncated or not safetensors, for a line of another store's, and for one
    that a Service cannot be called like where models are served on a cluster.
    """
    tracker = platform.tracker
    champion = tracker.resolve(line, "champion")
    if champion is not None and elsewhere(platform, champion):
        raise BadInput(
            f"{line}: that line is taken: its models are in {champion.uri}, outside {platform.store.root}. Choose "
            "another --line, or have a workspace of MLflow's for each team (MLFLOW_WORKSPACE)."
        )
    if champion is not None:
        if not platform.store.has("models", champion.digest):
            _restore(platform, recipe.policy, champion)
        return champion
    if platform.settings.serving == "kserve":
        version_name(line, "0" * 64)  # a line that could never be served is refused before there is anything of it
    source = recipe.policy
    digest, uri = keep(platform, source)
    run = tracker.adoption_run(line, digest, source)
    tags = {"selftaught.recipe": "none", "selftaught.source": source, "selftaught.repository": repository(source)}
    version = tracker.register(line, digest, uri, run, tags)
    for alias in ("base", "head", "champion"):
        tracker.point(alias, version)
    return version


def _restore(platform: Platform, source: str, champion: Version) -> None:
    """Store the champion's files again where it is the model that the recipe names: who removed damaged ones."""
    folder = resolve(source, platform.settings.home / "models")
    check_model(folder)
    if model_digest(folder) == champion.digest:
        put_model(platform.store, champion.digest, folder)


def _askable(folder: Path) -> None:
    """Raise BadInput where the model in `folder` cannot be asked, or writes texts and cannot be trained."""
    if process_reward(folder):
        check_asked(folder)
    elif not values(folder):
        check_suitable(folder)


def _as_text(folder: Path) -> None:
    """A model that reads plain text needs no chat template, and is not trained."""


def keep(platform: Platform, name: str, check: Callable[[Path], None] = _askable) -> tuple[str, str]:
    """Put the model called `name` (starter, folder or hub id) into the store. Returns its digest and where it is.

    `check` raises BadInput for a model that its role has no use for.

    Raises BadInput when it is not a model that can be loaded safely or does not pass `check`, StoreError or Unavailable
    when it cannot be kept.
    """
    folder = resolve(name, platform.settings.home / "models")
    check_model(folder)
    digest = model_digest(folder)
    if platform.ledger.value(ReferenceEntry(digest)) is None:
        # Before the files: a model that cannot be used leaves nothing in the store.
        reference = _reference(folder)
        check(folder)
        platform.ledger.write(ReferenceEntry(digest), reference)
    elif not _has_template(folder):  # it may have been kept as one that reads plain text
        check(folder)
    return digest, put_model(platform.store, digest, folder)


def _has_template(folder: Path) -> bool:
    settings = folder / "tokenizer_config.json"
    fields: dict[str, object] = json.loads(settings.read_bytes()) if settings.is_file() else {}
    return (folder / "chat_template.jinja").is_file() or "chat_template" in fields


def _reference(folder: Path) -> Reference:
    """What the model in `folder` says of the probe prompts.

    Raises BadInput when it cannot be loaded, or computes no numbers.
    """
    reference = reference_logprobs(folder)
    if not reference.finite:
        raise BadInput(f"{folder}: its output for a short text is not a finite number. Copy the model again.")
    return reference


def adopt_roles(platform: Platform, recipe: Recipe, line: str) -> None:
    """Put the named models of the roles other than policy into the store, where `roles` finds them."""
    plain = _plain(recipe)
    for role, name in names(recipe.models).items():
        if role != "policy":
            check = _as_text if role in plain else _askable
            key, digest = _role_key(line, role, name), keep(platform, name, check)[0].encode()
            if platform.store.claimed(key) != digest:
                platform.store.release(key)
                platform.store.claim(key, digest)


def _plain(recipe: Recipe) -> set[str]:
    """The roles whose models read plain text alone."""
    asking = [block for stage in recipe.stages for block in blocks_of(stage, ProcessReward, ReplyReward)]
    return {block.role for block in asking} - {block.role for block in asking if block.in_chat}


def roles(platform: Platform, recipe: Recipe, line: str) -> dict[str, ModelRef]:
    """The named models of the roles other than policy. Raises BadInput for one that was not adopted."""
    found: dict[str, ModelRef] = {}
    for role, name in names(recipe.models).items():
        if role == "policy":
            continue
        digest = platform.store.claimed(_role_key(line, role, name))
        if digest is None:
            raise BadInput(f"{line}: the {role} model {name} is not in the store. `selftaught run` puts it there.")
        found[role] = ModelRef(digest=digest.decode())
    return found


def _role_key(line: str, role: str, name: str) -> str:
    return RoleEntry(line, role, hashlib.sha256(name.encode()).hexdigest()).key
