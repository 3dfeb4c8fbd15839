"""Benchmarks of lm-evaluation-harness: its own figures, of the named model, on an engine that asks for a key."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from selftaught.cli.main import app
from selftaught.core.errors import BadInput
from selftaught.lines.benchmark import Wanted, benchmark, figures
from selftaught.platform import Platform
from selftaught.serving.engines.engine import TRANSFORMERS
from tests.rounds import database, model

pytest.importorskip("lm_eval", reason="the extra 'harness' is not installed")

__all__ = ["database", "model"]
SUMS = [{"question": f"What is {a} + {b}?", "answer": str(a + b)} for a, b in ((1, 1), (2, 3), (4, 5), (3, 3))]
WEIGHED = [
    {"question": "The capital of France is", "choices": ["Paris", "Xylophone", "Banana"], "gold": 0},
    {"question": "Cats and dogs are", "choices": ["numbers", "animals", "lamps"], "gold": 1},
    {"question": "The sky is", "choices": ["seven", "a fork", "blue"], "gold": 2},
]


def task(folder: Path, name: str, rows: Sequence[dict[str, Any]], **fields: Any) -> Path:
    """A task of the harness on rows of a local file."""
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    metadata = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "metadata": {"version": 1},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(metadata | fields))
    return folder / f"{name}.yaml"


def sums(folder: Path, rows: Sequence[dict[str, Any]] = SUMS, **fields: Any) -> Path:
    generation = {"until": ["\n"], "do_sample": False, "max_gen_toks": 8}
    metric = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "regexes_to_ignore": [" "]}
    config = {"doc_to_text": "Q: What is 2 + 2?\nA: 4\nQ: {{question}}\nA:", "doc_to_target": "{{answer}}"}
    config |= {"output_type": "generate_until", "generation_kwargs": generation, "metric_list": [metric]}
    return task(folder, "local_sums", rows, **config | fields)


def choices(folder: Path) -> Path:
    fields = {"doc_to_target": "{{gold}}", "doc_to_choice": "{{choices}}", "output_type": "multiple_choice"}
    return task(folder, "local_choices", WEIGHED, metric_list=[{"metric": "acc"}], **fields)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


def asked(model: Path, *more: str) -> Result:
    result = CliRunner().invoke(app, ["benchmark", str(model), *more])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


def test_a_benchmark_is_printed_written_and_logged(
    home: Path, database: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A tiny model, which is right by no accident, on the engine without vLLM; the last question is cut to fit."""
    shutil.copytree(database, home)
    monkeypatch.setattr("selftaught.serving.engines.engine.server_module", lambda: TRANSFORMERS)
    monkeypatch.setenv("OPENAI_API_KEY", "of-somebody-else")
    rows = [*SUMS[:2], {"question": "long " * 200, "answer": "0"}]
    file, out = sums(tmp_path, rows), tmp_path / "out"
    found = asked(model, "--tasks", str(file), "--out", str(out), "--limit", "3")
    assert "|local_sums|" in found.stdout
    assert "exact_match" in found.stdout
    assert "local_sums: 1 prompts were cut to fit 1024 tokens" in found.stderr
    (results,) = out.rglob("results_*.json")
    (samples,) = out.rglob("samples_local_sums_*.jsonl")
    answers = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [answer["doc"]["question"] for answer in answers] == [row["question"] for row in rows]
    assert json.loads(results.read_text())["results"]["local_sums"]["exact_match,none"] == 0
    assert "Bearer" not in results.read_text() + samples.read_text()
    _mlflow_has_them("benchmarks", {"local_sums/exact_match": 0.0})


def _mlflow_has_them(line: str, figures: dict[str, float]) -> None:
    client = Platform.open().tracker.client
    experiment = client.get_experiment_by_name(f"selftaught/{line}")
    assert experiment
    (run,) = client.search_runs([experiment.experiment_id], "tags.`selftaught.kind` = 'measurement'")
    assert run.info.status == "FINISHED"
    assert figures.items() <= run.data.metrics.items()
    assert {artifact.path for artifact in client.list_artifacts(run.info.run_id)} == {"results.json", "results.txt"}


@pytest.mark.model
def test_what_is_weighed_and_what_is_generated_are_the_models_own(
    home: Path, database: Path, starter_model: Path, tmp_path: Path
):
    """On vLLM's engine: log-likelihoods as transformers computes them, answers counted by hand."""
    shutil.copytree(database, home)
    sums(tmp_path), choices(tmp_path)
    out, names = tmp_path / "out", f"{tmp_path}/local_sums.yaml,{tmp_path}/local_choices.yaml"
    data = json.loads(asked(starter_model, "--tasks", names, "--out", str(out), "--json").stdout)
    weighed, said = (_samples(out, name) for name in ("local_choices", "local_sums"))
    right = [sample["filtered_resps"][0].strip() == sample["doc"]["answer"] for sample in said]
    assert data["figures"]["local_sums/exact_match"] == sum(right) / len(right)
    assert data["figures"]["local_choices/acc"] == 1
    assert data["cut"] == {}
    for sample in weighed:
        own = [_likelihood(starter_model, sample["doc"]["question"], f" {c}") for c in sample["doc"]["choices"]]
        assert [float(given[0]) for given in sample["filtered_resps"]] == pytest.approx(own, abs=0.1, rel=0.03)
    _mlflow_has_them("benchmarks", data["figures"])


def _samples(out: Path, name: str) -> list[dict[str, Any]]:
    (file,) = out.rglob(f"samples_{name}_*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def _likelihood(folder: Path, prompt: str, rest: str) -> float:
    """In nats, of `rest` behind `prompt`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    given, full = len(tokenizer(prompt).input_ids), tokenizer(prompt + rest, return_tensors="pt").input_ids
    with torch.inference_mode():
        logprobs = model(full).logits[0, :-1].float().log_softmax(-1)
    return float(logprobs.gather(1, full[0, 1:, None])[given - 1 :].sum())


# What is refused, before a model is looked for ----------------------------------------------------------------------


def refusal(wanted: Wanted, out: Path | None = None) -> str:
    platform: Any = None
    with pytest.raises(BadInput) as refused:
        benchmark(platform, "", "model", wanted, out)
    return str(refused.value)


def test_a_task_that_weighs_texts_needs_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("selftaught.lines.benchmark.uses_vllm", lambda: False)
    assert "'local_choices' weighs given texts" in refusal(Wanted((str(choices(tmp_path)),)))


def test_a_task_that_runs_what_a_model_wrote_is_refused(tmp_path: Path):
    found = refusal(Wanted((str(sums(tmp_path, unsafe_code=True)),)))
    assert "'local_sums' runs code that the model wrote" in found


def test_data_that_are_not_there_are_told_with_the_task(tmp_path: Path):
    file = sums(tmp_path)
    (tmp_path / "local_sums.jsonl").unlink()
    assert f"--tasks {file}: cannot be loaded (FileNotFoundError: " in refusal(Wanted((str(file),)))


def test_results_go_into_a_folder(tmp_path: Path):
    file = tmp_path / "results.json"
    file.touch()
    assert refusal(Wanted(("gsm8k",)), file) == f"--out {file}: a file. Name a folder."


def test_figures_are_named_by_task_metric_and_filter():
    of = {"alias": "gsm8k", "exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": "N/A", "acc,none": 1}
    results = {"results": {"gsm8k": of, "a:b": {"acc,none": 0.5}}, "groups": {"mmlu": {"acc,none": 0.75}}}
    assert dict(figures(results)) == {
        "gsm8k/exact_match/strict-match": 0.25,
        "gsm8k/acc": 1.0,
        "a_b/acc": 0.5,
        "mmlu/acc": 0.75,
    }
