"""Facts about a version to share: how it was made, its measurements, its line's base model.

It is read from the registry, from the record of its round and from the store. A licence is what somebody has said: the
starter model's package, the card of the hub's model, the card in the folder. Nobody said it: it is not known.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from selftaught.core.errors import BadInput
from selftaught.platform import Platform
from selftaught.report.data import RoundRecord
from selftaught.round.history import recorded
from selftaught.state.round_key import RoundKey
from selftaught.state.starter import STARTERS
from selftaught.state.tracking import Version

TEXTS = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*")
_PLACE = re.compile(
    r"^(?:~[\w.-]*|\.{0,2})/(?:.*/)?"  # a value that is a path
    r"|\b(?:s3|minio|gs)://[^\s,/]*(?:/(?:[^\s,]*/)?)?"  # the bucket is one's own, too
    r"|\bfile://(?:[^\s,]*/)?"
    r"|(?<![\w:/<.])(?:~[\w.-]*|\.{1,2})?/(?:[\w.@+-]+/)+"  # a path in a text
)
"""What stands before the name of a file: folders and buckets."""


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence as a card's metadata say it (`apache-2.0`; `other` with a title and a link), and who said so."""

    name: str = ""
    title: str = ""
    link: str = ""
    said_by: str = ""

    @classmethod
    def said(cls, card: Mapping[str, Any], said_by: str) -> "Licence":
        """What the metadata of a card say; nothing where they name none, or several."""
        name = card.get("license")
        if not isinstance(name, str) or not name:
            return cls()
        return cls(name, str(card.get("license_name") or ""), str(card.get("license_link") or ""), said_by)


Ask = Callable[[str], Licence]
"""What the hub says of the licence of a model (`owner/name` or `owner/name@revision`)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The model that a line began with. `repository` is its hub id, empty where it has none that is known."""

    digest: str
    repository: str = ""
    licence: Licence = Licence()
    texts: tuple[Path, ...] = ()
    """Files of its folder that the licence may ask to be passed on."""


@dataclass(frozen=True, slots=True)
class Facts:
    """A version, the record of the round that made it, the model it was trained from, and the origin of its line."""

    version: Version
    report: RoundRecord
    parent: str
    examples: str
    origin: Origin | None

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe as plain data, without the places of this machine and of its buckets."""
        return cast(dict[str, Any], without_paths(yaml.safe_load(self.report.recipe_yaml)))


def facts(platform: Platform, version: Version, ask: Ask) -> Facts:
    """What is known of `version`.

    Raises BadInput when it was not promoted, or its files or its round's record are gone.
    """
    tags = platform.tracker.version_tags(version)
    named = f"{version.line}: version {version.version}"
    if (outcome := tags.get("selftaught.outcome", "")) != "promoted":
        why = f"was {outcome}" if outcome else "was trained by no round that has ended"
        raise BadInput(f"{named} {why}. Only a promoted version is pushed: `selftaught models list {version.line}`.")
    if version.removed:
        raise BadInput(
            f"{named}: its files were removed on {version.removed} (`selftaught gc`). Push one that is kept."
        )
    run = platform.tracker.tags(version.run)
    number, attempt = int(run["selftaught.round"]), int(run["selftaught.attempt"])
    report = recorded(platform, RoundKey(version.line, run["selftaught.campaign"], number, attempt))
    if report is None:
        raise BadInput(f"{named}: the record of its round is not in {platform.store.root}. Is SELFTAUGHT_STORE right?")
    origin = _origin(platform, version, ask)
    return Facts(version, report, tags["selftaught.parent"], tags["selftaught.examples"], origin)


def _origin(platform: Platform, version: Version, ask: Ask) -> Origin | None:
    """Where the line of `version` began: what its oldest forefather was adopted from."""
    tagged = {each.digest: tags for each, tags in platform.tracker.tagged_versions(version.line)}
    digest, seen = version.digest, set[str]()
    while digest in tagged and "selftaught.source" not in tagged[digest] and digest not in seen:
        seen.add(digest)
        digest = tagged[digest].get("selftaught.parent", "")
    tags = tagged.get(digest, {})
    return _adopted(platform, digest, tags, ask) if "selftaught.source" in tags else None


def _adopted(platform: Platform, digest: str, tags: Mapping[str, str], ask: Ask) -> Origin:
    """The origin that was registered with `tags`. A name alone does not tell a hub id from a folder."""
    if tags["selftaught.source"] in STARTERS:
        starter = STARTERS[tags["selftaught.source"]]
        return Origin(digest, starter.source, Licence(starter.license.lower(), said_by=starter.package))
    if named := tags.get("selftaught.repository", ""):
        return Origin(digest, named.partition("@")[0], ask(named))
    if platform.store.has("models", digest) and (card := _card(folder := platform.model(digest))) is not None:
        texts = sorted(path for pattern in TEXTS for path in folder.glob(pattern) if path.is_file())
        return Origin(digest, "", Licence.said(card, "its model card"), tuple(texts))
    return Origin(digest)


def _card(folder: Path) -> Mapping[str, Any] | None:
    """The metadata of the model card in a folder; None where there is no card."""
    from huggingface_hub import ModelCard

    path = folder / "README.md"
    return ModelCard.load(path, ignore_metadata_errors=True).data.to_dict() if path.is_file() else None


def without_paths(node: Any) -> Any:
    """Plain data whose texts name no folders and buckets."""
    if isinstance(node, dict):
        return {key: without_paths(value) for key, value in cast(dict[str, Any], node).items()}
    if isinstance(node, list):
        return [without_paths(value) for value in cast(list[Any], node)]
    return _PLACE.sub("…/", node) if isinstance(node, str) else node


def names(value: Any, axis: str) -> Iterator[str]:
    """The types of the blocks on an axis of a recipe as plain data, each once."""
    blocks = [block for stage in value["stages"] for block in _listed(stage.get(axis))]
    yield from dict.fromkeys(str(block["type"]) for block in blocks if block and "type" in block)


def _listed(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else [value]
