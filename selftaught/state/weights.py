"""Validation of model folders, and their digest.

A model is a folder with `config.json`, a tokenizer and complete safetensors files. Pickles and Python code are refused:
nothing is unpickled here, and no remote code is trusted. So are links that lead out of the folder, which would bring
another file's content along, and whatever is not a file (a pipe would be waited for). Headers and lengths are checked,
the numbers in the tensors are not. Nothing is loaded, so this works where torch is not installed.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from safetensors import SafetensorError, safe_open

from selftaught.core.canonical import canonical
from selftaught.core.errors import BadInput, StoreError
from selftaught.state.store import sha256_of, visible_files

PICKLES = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
INDEX = "model.safetensors.index.json"
MANIFEST = "manifest.json"
MLMODEL = "MLmodel"
"""What MLflow reads first of a model; beside the weights it may be, and is not part of the model."""
MLFLOW_TOKENIZER = "components/tokenizer"
"""The folder where MLflow looks for a model's tokenizer."""
_BESIDE = {MANIFEST, MLMODEL, "registered_model_meta"}
"""Files beside a model: our own, MLflow's, and the one that MLflow writes into a local folder that it loads."""
PROCESS_REWARD = "Qwen2ForProcessRewardModel"
"""The architecture of Qwen2.5-Math-PRM: vLLM has it, without the code that its hub page offers."""
PROCESS_REWARDS = (
    PROCESS_REWARD,
    *(f"{kind}ForTokenClassification" for kind in ("Llama", "Mistral", "Qwen2", "Qwen3")),
)
"""The architectures of process reward models that can be served. Token classifiers are those that vLLM makes of causal
models, which read from left to right and have a bias in their head."""


def check_model(folder: Path) -> None:
    """Raise BadInput, saying which file and what to do, unless `folder` is a model that can be loaded safely."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder. A model is a folder with config.json, a tokenizer and safetensors.")
    _refuse_what_is_no_file(folder)
    files = visible_files(folder)
    _refuse_code(folder, files)
    _require(folder)
    weights = [path for path in files if path.suffix == ".safetensors"]
    if not weights:
        raise BadInput(f"{folder}: no *.safetensors. Save the model with save_pretrained (safetensors is its default).")
    tensors = {path.relative_to(folder).as_posix(): _tensors(path) for path in weights}
    _check_index(folder / INDEX, tensors)


def model_files(folder: Path) -> dict[str, Path]:
    """The model's files by their path in `folder`, in order of path.

    Hidden files, our own `manifest.json` and what MLflow has there (`MLmodel`, a second tokenizer) are not part of it.
    """
    found = {path.relative_to(folder).as_posix(): path for path in visible_files(folder)}
    return {
        name: path
        for name, path in found.items()
        if name not in _BESIDE and not name.startswith(f"{MLFLOW_TOKENIZER}/")
    }


def model_digest(folder: Path) -> str:
    """SHA-256 (hex) over the relative paths and SHA-256s of the model's files, in order of path.

    Reads every byte (some 0.7 GB/s a core, files side by side), caches nothing.
    """
    files = model_files(folder)
    with ThreadPoolExecutor() as pool:
        content = [[name, found] for name, found in zip(files, pool.map(sha256_of, files.values()), strict=True)]
    return hashlib.sha256(canonical(content)).hexdigest()


DIGEST = "SELFTAUGHT_MODEL_DIGEST"
"""Variable of an engine's process: the digest that it is named by, which the files it loads have to have."""


def prove_loaded(folder: str | Path) -> None:
    """Raise StoreError unless the files of `folder` are those of the digest in DIGEST; nothing is asked without one.

    Nobody before the engine can tell: KServe's storage initializer compares nothing, and runs after every init
    container of ours.
    """
    if digest := os.environ.get(DIGEST):
        proven(Path(folder), digest)


def proven(folder: Path, digest: str) -> Path:
    """`folder`, whose files are those of the model `digest`. Raises StoreError when they are another model's."""
    if (found := model_digest(folder)) != digest:
        raise StoreError(
            f"{folder}: is model {found[:8]}, not {digest[:8]}, which it is kept as. Somebody has replaced it: remove "
            "the folder, find out who writes to the store, and adopt or train the model again."
        )
    return folder


def _refuse_what_is_no_file(folder: Path) -> None:
    """Links may lead to files of the folder, and of the hub's cache that the folder is a snapshot of."""
    within = [folder.resolve(), folder.absolute().parent.parent / "blobs"]
    for path in folder.rglob("*"):
        if not str(path.relative_to(folder)).isprintable():
            raise BadInput(f"{str(path)!a}: a name with letters that cannot be printed. Rename the file, or remove it.")
        target = path.resolve()
        if not any(target.is_relative_to(root) for root in within):
            raise BadInput(f"{path}: leads out of the folder, to {target}. Copy that file here, or remove the link.")
        if not path.is_file() and not path.is_dir():
            raise BadInput(f"{path}: no regular file. A model is plain files: remove it.")


def _refuse_code(folder: Path, files: Sequence[Path]) -> None:
    for path in files:
        if path.suffix.lower() in PICKLES:
            raise BadInput(f"{path}: a pickle may run code when it is read. Convert it to safetensors, or remove it.")
        if path.suffix == ".py":
            raise BadInput(f"{path}: code in a model folder is never run. Use an architecture that transformers has.")
    for path in files:
        if path.parent == folder and path.name.endswith("config.json") and _asks_for_code(_json(path)):
            raise BadInput(
                f"{path}: auto_map asks for remote code, which is never run. Use an architecture built into "
                "transformers."
            )


def _asks_for_code(config: dict[str, object]) -> bool:
    """Whether a library may ask for code: not for the classes of a `model_type` that it has itself."""
    if "auto_map" not in config:
        return False
    named = cast(Mapping[str, object], config["auto_map"]) if isinstance(config["auto_map"], dict) else {"": ""}
    own = config.get("architectures") == [PROCESS_REWARD] and config.get("model_type") == "qwen2"
    return not (own and named.keys() <= {"AutoConfig", "AutoModel"})


def is_process_reward(config: Mapping[str, object]) -> bool:
    """Whether a model with that `config.json` gives classes of tokens, as process reward models do."""
    return config.get("architectures") in [[name] for name in PROCESS_REWARDS]


def _require(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        adapter = " It holds an adapter: merge it into its model." if (folder / "adapter_config.json").is_file() else ""
        raise BadInput(f"{folder}: no config.json, so no model.{adapter}")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise BadInput(f"{folder}: no tokenizer ({', '.join(TOKENIZERS[:2])} …). Save it beside the model.")


def _tensors(path: Path) -> set[str]:
    """The names of the tensors in a safetensors file; its header and its length are checked by the library."""
    try:
        with safe_open(path, framework="numpy") as file:  # pyright: ignore[reportUnknownVariableType]
            return set(cast(list[str], file.keys()))  # pyright: ignore[reportUnknownMemberType]
    except SafetensorError as error:
        raise BadInput(f"{path}: truncated or damaged ({path.stat().st_size} bytes; {error}). Copy it again.") from None


def _check_index(index: Path, tensors: dict[str, set[str]]) -> None:
    """Every shard that the index names is there and holds the tensors that the index says it does."""
    if not index.is_file():
        return
    shards = _json(index).get("weight_map")
    if not isinstance(shards, dict):
        raise BadInput(f"{index}: no weight_map, so no index. Save the model again.")
    for tensor, shard in cast(dict[str, object], shards).items():
        if not isinstance(shard, str) or shard not in tensors:
            raise BadInput(f"{index}: names {shard}, which is not in {index.parent}. Copy it there.")
        if tensor not in tensors[shard]:
            raise BadInput(f"{index}: lists {tensor} in {shard}, but it is not there. Save the model again.")


def _json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: no valid JSON ({error}). Copy it again.") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path}: a JSON object is expected here. Copy it again.")
    return cast(dict[str, object], content)
