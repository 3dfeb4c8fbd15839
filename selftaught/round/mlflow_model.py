"""What a model is put into the store with, so that MLflow loads it from where it is registered.

A version's source is the model's folder in the store. Beside the weights `mlflow.transformers.load_model` needs an
`MLmodel` file that says what they are, and the tokenizer in a folder of its own: files of a few MB, which are no part
of the model and not covered by its digest (`selftaught.state.weights.model_files`). The weights are there once. A model
that gives values instead of text gets none of it.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from selftaught.serving.weight_check import process_reward, values
from selftaught.state.store import Store
from selftaught.state.weights import INDEX, MLFLOW_TOKENIZER, MLMODEL, model_files

_FLAVOR = {
    "task": "text-generation",
    "instance_type": "TextGenerationPipeline",
    "pipeline_model_type": "AutoModelForCausalLM",
    "model_binary": ".",
    "components": ["tokenizer"],
    "tokenizer_type": "AutoTokenizer",
}
"""What MLflow's flavour of transformers reads: the weights are beside the file."""


def put_model(store: Store, digest: str, folder: Path) -> str:
    """Put the model in `folder` into the store, with what MLflow loads it by. Returns where it is.

    Raises as `Store.put` does.
    """
    with TemporaryDirectory() as view:
        _lay_out(folder, Path(view))
        return store.put("models", digest, Path(view))


def _lay_out(folder: Path, view: Path) -> None:
    """The files of a stored model in `view`: links, so that no weights are copied to be stored."""
    files = model_files(folder)
    _link(files, view)
    if not values(folder) and not process_reward(folder):
        _link({name: path for name, path in files.items() if _is_small(path)}, view / MLFLOW_TOKENIZER)
        (view / MLMODEL).write_text(yaml.safe_dump({"flavors": {"transformers": _FLAVOR}}), encoding="utf-8")


def _is_small(path: Path) -> bool:
    """Whether a file is no weights; a tokenizer may be in any of those, and its kind in `config.json`."""
    return path.suffix != ".safetensors" and path.name != INDEX


def _link(files: dict[str, Path], into: Path) -> None:
    for name, path in files.items():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).symlink_to(path.resolve())
