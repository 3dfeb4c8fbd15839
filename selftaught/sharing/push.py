"""Pushing a promoted version to a model hub: its files, a card, and optionally its training data.

With huggingface_hub, to the hub that HF_ENDPOINT names, as whom HF_TOKEN says; no other login is looked for. A
repository is made private unless configured otherwise, and gets all of a version in one commit. What it holds is known
by its card: the same version again is nothing to do, another version of the line is a new commit, and a repository with
anything else in it is left alone.
"""

import hashlib
import importlib.util
import os
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from selftaught.core.errors import BadInput, Unavailable
from selftaught.core.hub import http_error
from selftaught.platform import Platform
from selftaught.records import Example, dataset
from selftaught.sharing.cards import MARK, dataset_card, model_card
from selftaught.sharing.facts import Facts, Licence, facts
from selftaught.sharing.trl import parquet
from selftaught.state.store import sha256_of
from selftaught.state.tracking import Version
from selftaught.state.weights import model_files

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD, SUMS = "README.md", "SHA256SUMS"
Kind = Literal["model", "dataset"]


@dataclass(frozen=True, slots=True)
class Content:
    """What a repository shall hold: files by their path in it, and the line and the digest that its card names."""

    kind: Kind
    line: str
    digest: str
    title: str
    files: Mapping[str, Path | bytes]


@dataclass(frozen=True, slots=True)
class Pushed:
    """A repository, its address, the digest that it holds, and whether that is new."""

    repository: str
    url: str
    digest: str
    new: bool


def push(
    platform: Platform, version: Version, repository: str, data: str = "", public: bool = False
) -> Iterator[Pushed]:
    """Push the training data of `version` to `data` where it is given, then `version` to `repository`.

    Raises BadInput when it is not to be pushed, HF_TOKEN is missing or may not, or the repository holds something else;
    Unavailable when the hub does not answer.
    """
    hub = _hub()
    for name in (repository, *filter(None, [data])):
        _require_name(name)
    known = facts(platform, version, lambda source: _licence(hub, source))
    if data:
        yield _pushed(hub, data, dataset_content(platform, known, data), public)
    yield _pushed(hub, repository, model_content(platform, known, repository, data), public)


def model_content(platform: Platform, known: Facts, repository: str, data: str) -> Content:
    """The files of the model as they are, the licence's texts, a list of digests and the card.

    A card that the model's own folder has gives way to this one, and the proof of the digest knows it.
    """
    version, folder = known.version, platform.model(known.version.digest)
    own = model_files(folder)
    left_out = [(name, sha256_of(own.pop(name))) for name in (CARD, SUMS) if name in own]
    card = model_card(known, repository, data, left_out).encode()
    texts = {path.name: path for path in (known.origin.texts if known.origin else ()) if path.name not in own}
    files = {**own, **texts, SUMS: _sums(own), CARD: card}
    return Content("model", version.line, version.digest, f"{version.line} version {version.version}", files)


def dataset_content(platform: Platform, known: Facts, repository: str) -> Content:
    """The training data in TRL's format, a list of digests and the card.

    Raises BadInput when the store has it no more.
    """
    if not platform.store.has("datasets", known.examples):
        raise BadInput(
            f"{known.version.line}: the training data of version {known.version.version} were removed "
            "(`selftaught gc`). Push the version without --dataset."
        )
    folder = dataset.proven(
        platform.store.local("datasets", known.examples, platform.settings.home / "cache"), known.examples
    )
    manifest, rows = dataset.manifest(folder), dataset.Rows(folder, Example)
    card = dataset_card(known, repository, manifest, Counter(example.target.type for example in rows))
    title = f"what {known.version.line} version {known.version.version} was trained on"
    data = {"data.parquet": parquet(rows)}
    files = {**data, SUMS: _sums(data), CARD: card.encode()}
    return Content("dataset", known.version.line, manifest.digest, title, files)


def _sums(files: Mapping[str, Path | bytes]) -> bytes:
    return "".join(f"{_sha256(content)}  {name}\n" for name, content in files.items()).encode()


def _sha256(content: Path | bytes) -> str:
    return sha256_of(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()


# The hub --------------------------------------------------------------------------------------------------------------


def _hub() -> "HfApi":
    """The hub, as whom HF_TOKEN says."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise BadInput("models push needs huggingface_hub. Run: pip install 'selftaught[train]'")
    from huggingface_hub import HfApi

    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise BadInput(
            "HF_TOKEN: not set. Export a token with the right to write: https://huggingface.co/settings/tokens"
        )
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token, library_name="selftaught")


def _require_name(name: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
        if name.count("/") == 1:
            return
        reason = "the owner is missing"
    except HFValidationError as error:
        reason = str(error).partition(":")[0]
    raise BadInput(f"'{name}': no name of a repository ({reason}). It is owner/name.")


def _licence(hub: "HfApi", source: str) -> Licence:
    """What the hub says of the licence of the model `source`; nothing where it says nothing, or has no such model."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    repository, _, revision = source.partition("@")
    with _hub_errors(hub, repository):
        try:
            info = hub.model_info(repository, revision=revision or None)
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return Licence()
    card = info.card_data.to_dict() if info.card_data else {}
    said = Licence.said(card, f"the card of {repository}")
    if said.link and "://" not in said.link:
        link = f"{hub.endpoint}/{repository}/blob/{revision or 'main'}/{said.link}"
        return Licence(said.name, said.title, link, said.said_by)
    return said


def _pushed(hub: "HfApi", repository: str, content: Content, public: bool) -> Pushed:
    """`content` in `repository`, made where there is none."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    prefix = "datasets/" if content.kind == "dataset" else ""
    url = f"{hub.endpoint}/{prefix}{repository}"
    with _hub_errors(hub, repository):
        there = _there(hub, repository, content.kind)
        mark, files = _mark(there), _files(there)
        if mark.get("digest") == content.digest:
            return Pushed(repository, url, content.digest, new=False)
        if files and mark.get("line") != content.line:
            raise BadInput(f"{url}: holds something else ({', '.join(sorted(files)[:3])} …). Name another repository.")
        if there is not None and not public and there.private is False:
            raise BadInput(
                f"{url}: is public, and without --public nothing is published. Add --public, or make it private."
            )
        if there is None:
            hub.create_repo(repository, repo_type=content.kind, private=not public)
        given = {name: data if isinstance(data, bytes) else str(data) for name, data in content.files.items()}
        add = [CommitOperationAdd(name, data) for name, data in given.items()]
        remove = [CommitOperationDelete(name) for name in sorted(files - content.files.keys())]
        hub.create_commit(
            repository,
            [*add, *remove],
            commit_message=content.title,
            repo_type=content.kind,
            parent_commit=there.sha if there and files else None,
        )
    return Pushed(repository, url, content.digest, new=True)


def _there(hub: "HfApi", repository: str, kind: Kind) -> Any:
    """What the hub says of a repository; None where there is none that one may see."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return hub.repo_info(repository, repo_type=kind)
    except RepositoryNotFoundError:
        return None


def _mark(there: Any) -> Mapping[str, Any]:
    """What the card of a repository says that it holds."""
    card = cast(dict[str, Any], there.card_data.to_dict()) if there is not None and there.card_data else {}
    mark = card.get(MARK)
    return cast(dict[str, Any], mark) if isinstance(mark, dict) else {}


def _files(there: Any) -> set[str]:
    """The files of a repository that somebody has put there."""
    names = {str(each.rfilename) for each in (there.siblings or ())} if there is not None else set[str]()
    return names - {".gitattributes"}


@contextmanager
def _hub_errors(hub: "HfApi", repository: str) -> Generator[None]:
    """Turn what the hub and its client raise into words."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        raise _refused(hub, repository, error) from None
    except errors.OfflineModeIsEnabled:
        raise Unavailable(f"{repository}: HF_HUB_OFFLINE is set, so no hub is contacted. Unset it.") from None
    except (http_error(), RuntimeError) as error:  # the client wraps what the upload of a large file meets
        raise _silent(hub, str(error.__cause__ or error)) from None
    except ValueError as error:
        raise BadInput(f"{repository}: {hub.endpoint} does not take it: {str(error).strip()}") from None


_MENDED = {
    401: "{hub}: does not know the token in HF_TOKEN ({said}). Export one that is valid.",
    403: "{repository}: HF_TOKEN may not write there ({said}). Export one that may, or name another repository.",
    404: "{repository}: is not there, or HF_TOKEN may not see it ({said}). Export one that may.",
    409: "{repository}: is there, and HF_TOKEN may not see it ({said}). Name another repository.",
    412: "{repository}: somebody has changed it meanwhile ({said}). Look at it, then run this again.",
}
"""What to do about what the hub says."""


def _refused(hub: "HfApi", repository: str, error: Any) -> BadInput | Unavailable:
    status = int(error.response.status_code)
    said = str(error.server_message or "").strip() or f"status {status}"
    if status >= 500 or status == 429:
        return _silent(hub, said)
    words = _MENDED.get(status, "{repository}: {hub} does not take it ({said}).")
    return BadInput(words.format(hub=hub.endpoint, repository=repository, said=said))


def _silent(hub: "HfApi", reason: str) -> Unavailable:
    detail = reason.strip().partition("\n")[0]
    return Unavailable(
        f"{hub.endpoint}: the hub does not answer ({detail}). Is HF_ENDPOINT right? Run this again later."
    )
