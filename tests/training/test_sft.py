"""sft: the loss is the completions' NLL and nothing else, a killed run continues, what is written can be served."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from selftaught.blocks import TrainContext
from selftaught.core.errors import BadInput, RoundFailed
from selftaught.records import Example, Segment
from selftaught.state.weights import check_model
from selftaught.training.gradient import Gradient, Lora
from selftaught.training.loops.checkpoints import newest
from selftaught.training.sft import SFT
from selftaught.training.tokens import Loss, TokenBatch
from selftaught.training.value import ValueMSE
from tests.examples import asked, worth
from tests.training.training_examples import MakeContext, example

FP32 = {"precision": "fp32", "learning_rate": 1e-3, "epochs": 1, "batch_size": 4}


def token_nlls(folder: Path, examples: list[Example]) -> list[list[float]]:
    """The NLL of every completion token, each example alone in a plain forward pass: no padding, no trainer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    nlls: list[list[float]] = []
    for one in examples:
        prompt = [m.to_row() for m in one.prompt]
        start = len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False))
        ids = tokenizer.apply_chat_template(prompt + [m.to_row() for m in one.completion], return_dict=False)
        with torch.no_grad():
            logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        nlls.append([-logprobs[i - 1, ids[i]].item() for i in range(start, len(ids))])
    return nlls


def nlls_of(folder: Path, ids: list[int]) -> list[float]:
    """The NLL of every token given those before it; the first one's is 0."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return [0.0, *(-logprobs[at - 1, token].item() for at, token in enumerate(ids) if at)]


def mean_nll(folder: Path, examples: list[Example]) -> float:
    tokens = [nll for one in token_nlls(folder, examples) for nll in one]
    return sum(tokens) / len(tokens)


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("batching", ["shared", "length_grouped", "packed", "padded"])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_loss_is_the_mean_nll_over_completion_tokens(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path, batching: str, accumulation: int
):
    """Over one step with all examples, padded, packed or accumulated: what each example gives when it is alone."""
    config = SFT.model_validate(
        FP32 | {"batching": batching, "batch_size": 12 // accumulation, "gradient_accumulation": accumulation}
    )
    result = config.train(tiny_model, examples, tmp_path / "out", context("run"))
    assert result.steps == 1
    assert result.losses[0][1] == pytest.approx(mean_nll(tiny_model, examples), rel=1e-5)
    assert result.trained_tokens == sum(map(len, token_nlls(tiny_model, examples)))


@pytest.mark.parametrize("batching", ["shared", "padded"])
def test_the_loss_is_that_of_the_engines_tokens_and_of_the_models_turns(
    tiny_model: Path, context: MakeContext, tmp_path: Path, batching: str
):
    """Tokens that the template would not give are trained on as they came; the user's turn between two is not."""
    first, then = (65, 66, 256), (67, 256)
    turns = (asked("?"), Segment.answer("bc", first), asked("?"), Segment.answer("d", then))
    one = Example(sequences=(turns,), task="t", rollout="r")
    config = SFT.model_validate(FP32 | {"batching": batching})
    result = config.train(tiny_model, [one], tmp_path / "out", context("run"))
    opening, between = [257, 30, 256, 258], [257, 30, 256, 258]
    ids, trained = [*opening, *first, *between, *then], {4, 5, 6, 11, 12}
    nlls = nlls_of(tiny_model, ids)
    assert result.trained_tokens == len(trained)
    assert result.losses[0][1] == pytest.approx(sum(nlls[at] for at in trained) / len(trained), rel=1e-5)


@pytest.mark.parametrize("batching", ["length_grouped", "packed"])
def test_the_attention_kernel_for_long_examples_gives_the_same_loss(
    tiny_model: Path,
    examples: list[Example],
    context: MakeContext,
    tmp_path: Path,
    batching: str,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("selftaught.training.loops.sft.SHORT", 0)
    config = SFT.model_validate(FP32 | {"batching": batching, "batch_size": 12})
    result = config.train(tiny_model, examples, tmp_path / "out", context("run"))
    assert result.losses[0][1] == pytest.approx(mean_nll(tiny_model, examples), rel=1e-5)


def test_no_gradient_comes_from_prompt_tokens(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The last hidden states that predict prompt tokens or padding get a gradient of exactly zero."""
    from selftaught.training.loops import sft

    gradients: list[Any] = []

    def watched(folder: Path, dtype: Any) -> Any:
        model: Any = original(folder, dtype)
        model.model.norm.register_full_backward_hook(lambda _, __, given: gradients.append(given[0]))
        return model

    original = sft.load
    monkeypatch.setattr(sft, "load", watched)
    config = SFT.model_validate(FP32 | {"batch_size": 12})
    result = config.train(tiny_model, examples, tmp_path / "out", context("run"))
    moved = (gradients[0].abs().sum(-1) > 0).sum().item()
    assert moved == result.trained_tokens < result.tokens


def test_the_loss_falls(tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path):
    config = SFT.model_validate(FP32 | {"epochs": 8, "learning_rate": 3e-3})
    result = config.train(tiny_model, examples, tmp_path / "out", context("run"))
    assert result.losses[-1][1] < 0.7 * result.losses[0][1]
    assert mean_nll(tmp_path / "out", examples) < 0.7 * mean_nll(tiny_model, examples)


def test_equal_seeds_see_equal_batches(tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path):
    config = SFT.model_validate(FP32 | {"epochs": 2})
    one, two = (config.train(tiny_model, examples, tmp_path / name, context(name)) for name in ("one", "two"))
    assert dict(one.losses) == pytest.approx(dict(two.losses))


def test_every_step_is_reported_with_loss_and_speed(tiny_model: Path, examples: list[Example], tmp_path: Path):
    events: list[tuple[int, int, dict[str, float]]] = []
    seen = TrainContext(tmp_path / "run", 0, lambda done, total, /, **values: events.append((done, total, values)))
    result = SFT.model_validate(FP32).train(tiny_model, examples, tmp_path / "out", seen)
    assert [(done, total) for done, total, _ in events] == [(1, 3), (2, 3), (3, 3)]
    assert [values["loss"] for *_, values in events] == pytest.approx([loss for _, loss in result.losses])
    assert events[-1][2]["tokens_per_second"] == pytest.approx(result.tokens / result.seconds)


KILLED = """
import os, signal, sys
from pathlib import Path
from selftaught.records import dataset
from selftaught.blocks import TrainContext
from selftaught.records import Example
from selftaught.training.sft import SFT

def die(done, total, /, **values):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)

model, examples, out, scratch, config = sys.argv[1:]
context = TrainContext(Path(scratch), 3, die)
SFT.model_validate_json(config).train(Path(model), dataset.read(Path(examples), Example), Path(out), context)
"""


def test_a_killed_run_goes_on_as_if_it_had_not_been(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path
):
    """kill -9 after step 5, with a torn checkpoint-6 beside the entire checkpoint-4: same losses, same weights."""
    from selftaught.records import dataset

    config = SFT.model_validate(FP32 | {"epochs": 3, "checkpoint_every": 2})
    full = config.train(tiny_model, examples, tmp_path / "whole", context("whole"))
    dataset.write(tmp_path / "examples", examples, "examples")
    paths = [tiny_model, tmp_path / "examples", tmp_path / "resumed", tmp_path / "killed"]
    died = subprocess.run([sys.executable, "-c", KILLED, *map(str, paths), config.model_dump_json()], check=False)
    assert died.returncode == -signal.SIGKILL
    assert not (tmp_path / "resumed").exists()
    torn = tmp_path / "killed" / "checkpoint-6"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")

    events: list[int] = []
    seen = TrainContext(tmp_path / "killed", 3, lambda done, total, /, **values: events.append(done))
    resumed = config.train(tiny_model, examples, tmp_path / "resumed", seen)

    assert events == [5, 6, 7, 8, 9]
    assert resumed.steps == full.steps == 9
    assert dict(resumed.losses) == pytest.approx(dict(full.losses), rel=1e-4)
    assert resumed.seconds > 0
    for name, expected in weights(tmp_path / "whole").items():
        assert weights(tmp_path / "resumed")[name].float() == pytest.approx(expected.float(), abs=2e-3), name


@pytest.mark.parametrize(
    "config",
    [SFT(**FP32), SFT(**FP32, lora=Lora(rank=2)), ValueMSE(**FP32, held_out=0)],
)
def test_of_a_model_that_sees_images_every_weight_that_is_trained_has_a_gradient(
    seeing_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path, config: Gradient
):
    """So replicas wait for none, and a checkpoint is read again."""
    own = [worth(f"{i}?", "so", 0.5) for i in range(12)] if isinstance(config, ValueMSE) else examples
    config = config.model_copy(update={"checkpoint_every": 1})
    full = config.train(seeing_model, own, tmp_path / "whole", context("run"))
    assert newest(context("run").scratch)
    resumed = config.train(seeing_model, own, tmp_path / "again", context("run"))
    assert resumed.losses == full.losses


def test_what_is_written_is_the_source_with_other_weights(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path
):
    """Same files, no pickle, config and tokenizer byte for byte, tensors of the same names, shapes and precision."""
    SFT.model_validate(FP32).train(tiny_model, examples, tmp_path / "out", context("run"))
    check_model(tmp_path / "out")
    before, after = ({path.name for path in folder.iterdir()} for folder in (tiny_model, tmp_path / "out"))
    assert before == after
    for name in before - {"model.safetensors"}:
        assert (tmp_path / "out" / name).read_bytes() == (tiny_model / name).read_bytes()
    old, new = weights(tiny_model), weights(tmp_path / "out")
    assert {n: (t.shape, t.dtype) for n, t in old.items()} == {n: (t.shape, t.dtype) for n, t in new.items()}
    assert any((old[name] != new[name]).any() for name in old)


@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_a_generation_config_that_cannot_be_saved_is_carried_over(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path, lora: object
):
    """Vicuna's and Llama 2 Chat's kind: transformers reads it and refuses to write it, also into checkpoints."""
    source = shutil.copytree(tiny_model, tmp_path / "source")
    (source / "generation_config.json").write_text('{"temperature": 0.6, "top_p": 0.9}')
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tool_use.jinja").write_text("{{ messages[0].content }}")
    config = SFT.model_validate(FP32 | {"checkpoint_every": 1, "lora": lora})
    config.train(source, examples, tmp_path / "out", context("run"))
    for name in ("generation_config.json", "additional_chat_templates/tool_use.jinja"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()


def test_a_model_without_a_generation_config_gets_none(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path
):
    source = shutil.copytree(tiny_model, tmp_path / "source")
    (source / "generation_config.json").unlink()
    SFT.model_validate(FP32).train(source, examples, tmp_path / "out", context("run"))
    assert not (tmp_path / "out" / "generation_config.json").exists()


def test_weights_that_the_last_update_blew_up_are_not_written(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path
):
    """The loss of the only step is that of the weights before it, so it says nothing."""
    config = SFT.model_validate(FP32 | {"learning_rate": 1e38, "batch_size": 12})
    with pytest.raises(RoundFailed, match=r"the trained weights are not finite numbers. Lower learning_rate"):
        config.train(tiny_model, examples, tmp_path / "out", context("run"))
    assert not (tmp_path / "out").exists()


def test_a_kill_while_a_checkpoint_is_written_leaves_an_older_whole_one(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """At the last moment before it counts: checkpoint-4 is written and not marked, and the run resumes from step 2."""
    from selftaught.training.loops import checkpoints

    mark = checkpoints.write_atomically

    def killed(path: Path, content: str) -> None:
        if path.parent.name == "checkpoint-4":
            raise KeyboardInterrupt
        mark(path, content)

    config = SFT.model_validate(FP32 | {"epochs": 2, "checkpoint_every": 2})
    found = context("run")
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            config.train(tiny_model, examples, tmp_path / "out", found)
    assert (found.scratch / "checkpoint-4").is_dir()
    assert checkpoints.newest(found.scratch) == found.scratch / "checkpoint-2"
    steps: list[int] = []
    again = TrainContext(found.scratch, 3, lambda done, total, /, **values: steps.append(done))
    config.train(tiny_model, examples, tmp_path / "out", again)
    assert steps == [3, 4, 5, 6]


def test_lora_is_merged_into_a_plain_model(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path
):
    config = SFT.model_validate(FP32 | {"epochs": 4, "learning_rate": 1e-2, "lora": Lora(rank=4, alpha=8)})
    config.train(tiny_model, examples, tmp_path / "out", context("run"))
    old, new = weights(tiny_model), weights(tmp_path / "out")
    assert old.keys() == new.keys()
    assert (old["model.embed_tokens.weight"] == new["model.embed_tokens.weight"]).all()
    assert (old["model.layers.0.mlp.up_proj.weight"] != new["model.layers.0.mlp.up_proj.weight"]).any()
    assert mean_nll(tmp_path / "out", examples) < mean_nll(tiny_model, examples)


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_adapters_of_tied_embeddings_are_refused(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path, target: str
):
    config = SFT.model_validate(FP32 | {"lora": Lora(targets=("q_proj", target))})
    with pytest.raises(BadInput, match=f"lora.targets: q_proj, {target}: .*Leave embed_tokens and lm_head out"):
        config.train(tiny_model, examples, tmp_path / "out", context("run"))


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_adapters_of_embeddings_that_are_not_tied_are_merged(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path, target: str
):
    untied, config = tmp_path / "untied", SFT.model_validate(FP32 | {"epochs": 2, "lora": Lora(targets=(target,))})
    shutil.copytree(tiny_model, untied)
    settings = json.loads((untied / "config.json").read_text()) | {"tie_word_embeddings": False}
    (untied / "config.json").write_text(json.dumps(settings))
    tied = weights(tiny_model)
    save_file({**tied, "lm_head.weight": tied["model.embed_tokens.weight"].clone()}, untied / "model.safetensors")
    config.train(untied, examples, tmp_path / "out", context("run"))
    old, new = weights(untied), weights(tmp_path / "out")
    assert {name for name in old if (old[name] != new[name]).any()} == {
        f"{'model.' if target == 'embed_tokens' else ''}{target}.weight"
    }


def test_gradient_checkpointing_changes_no_loss_and_no_config(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path
):
    results = [
        SFT.model_validate(FP32 | {"gradient_checkpointing": on}).train(
            tiny_model, examples, tmp_path / f"out-{on}", context(f"run-{on}")
        )
        for on in (False, True)
    ]
    assert dict(results[0].losses) == pytest.approx(dict(results[1].losses), rel=1e-5)
    assert json.loads((tmp_path / "out-True" / "config.json").read_text())["use_cache"] is True


def test_examples_that_are_too_long_are_left_out_whole(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path
):
    long = example("why?", "because " * 50)
    config = SFT.model_validate(FP32 | {"max_length": 80})
    result = config.train(tiny_model, [*examples, long], tmp_path / "out", context("run"))
    assert result.metrics["examples.left_out"] == 1
    assert result.trained_tokens == sum(map(len, token_nlls(tiny_model, examples)))


def test_examples_longer_than_the_model_reads_are_named(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path
):
    source = shutil.copytree(tiny_model, tmp_path / "source")
    settings = json.loads((source / "config.json").read_text()) | {"max_position_embeddings": 32}
    (source / "config.json").write_text(json.dumps(settings))
    with pytest.raises(
        RoundFailed, match=r"sft: an example has \d+ tokens, and the model reads 32 .*Set max_length: 32"
    ):
        SFT.model_validate(FP32).train(source, examples, tmp_path / "out", context("run"))


@pytest.mark.parametrize("batching", ["shared", "padded"])
def test_an_example_of_which_nothing_counts_is_left_out(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path, batching: str
):
    silent = Example(sequences=((asked("?"), Segment.answer("no", weights=(0.0,))),), task="t", rollout="r")
    config = SFT.model_validate(FP32 | {"batching": batching, "batch_size": 12})
    result = config.train(tiny_model, [*examples, silent], tmp_path / "out", context("run"))
    assert result.metrics["examples.left_out"] == 1
    assert result.losses[0][1] == pytest.approx(mean_nll(tiny_model, examples), rel=1e-5)
    with pytest.raises(RoundFailed, match="no token of a weight"):
        config.train(tiny_model, [silent], tmp_path / "none", context("none"))


def test_a_step_in_which_nothing_counts_updates_nothing(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path
):
    class Nothing(SFT):
        def compute_loss(self, tokens: TokenBatch) -> Loss:
            return Loss(tokens.logprobs.sum() * 0, tokens.logprobs.sum().detach() * 0)

    config = Nothing.model_validate(FP32 | {"weight_decay": 0.5})
    result = config.train(tiny_model, examples, tmp_path / "out", context("run"))
    assert dict(result.losses) == {1: 0.0, 2: 0.0, 3: 0.0}
    assert all((weights(tmp_path / "out")[name] == weight).all() for name, weight in weights(tiny_model).items())


def test_nothing_to_train_on_fails_the_round(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path
):
    with pytest.raises(RoundFailed, match="no examples"):
        SFT().train(tiny_model, [], tmp_path / "out", context("run"))
    with pytest.raises(RoundFailed, match=r"all 12 examples are longer than max_length 5 .*Raise max_length"):
        SFT(max_length=5).train(tiny_model, examples, tmp_path / "out", context("run"))
    assert not (tmp_path / "out").exists()


def test_a_diverged_run_names_step_and_learning_rate(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path
):
    config = SFT.model_validate(FP32 | {"learning_rate": 1e30})
    with pytest.raises(RoundFailed, match=r"at step [23] with learning_rate 1e\+30"):
        config.train(tiny_model, examples, tmp_path / "out", context("run"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("checkpoint_every", [1, 50])
def test_a_full_disk_leaves_the_old_model_alone(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path, checkpoint_every: int
):
    """While a checkpoint or the model is written: OSError, the old folder as it was, no scratch beside it.

    A limit on file size stands in for the full disk.
    """
    old = tmp_path / "models" / "out"
    old.mkdir(parents=True)
    (old / "here").write_text("before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            SFT.model_validate(FP32 | {"checkpoint_every": checkpoint_every}).train(
                tiny_model, examples, old, context("run")
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in old.parent.iterdir()] == ["out"]
    assert (old / "here").read_text() == "before"


@pytest.mark.model
def test_the_starter_model_learns_its_examples(starter_model: Path, context: MakeContext, tmp_path: Path):
    """Eight steps on sixteen examples, in the precision that this machine takes: the completions become likelier."""
    sums = [
        example(f"Ann has {i} pens and buys {i + 3}. How many now?", f"{i} + {i + 3} = {2 * i + 3}") for i in range(16)
    ]
    result = SFT(epochs=2, batch_size=4).train(starter_model, sums, tmp_path / "out", context("run"))
    check_model(tmp_path / "out")
    assert result.steps == 8
    assert mean_nll(tmp_path / "out", sums[:4]) < 0.8 * mean_nll(starter_model, sums[:4])
