"""Model and data set cards: metadata for the hub, and text for people. Pure: facts in, Markdown out.

A card says what is known, and where something is not, that it is not: no licence is guessed. It names no path of the
machine or the store that the model comes from.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from selftaught.records.dataset import Manifest
from selftaught.sharing.facts import Facts, Origin, names, without_paths

MARK = "selftaught"
"""The key of a card's metadata that says what a repository holds."""
_PROOF = """import hashlib, json

lines = [line.split("  ", 1) for line in open("SHA256SUMS", encoding="utf-8").read().splitlines()]
files = sorted({left_out} + [[name, digest] for digest, name in lines])
print(hashlib.sha256(json.dumps(files, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest())
"""
"""What computes `selftaught.state.weights.model_digest` from the list of files."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one metric came to on one set, in words."""

    split: str
    metric: str
    this: str
    before: str
    gain: str


def model_card(facts: Facts, repository: str, dataset: str, left_out: Sequence[tuple[str, str]]) -> str:
    """The README.md of a model's repository. `dataset` is that of its training data, empty where it is not shared.

    `left_out` are files of the model, with their SHA-256, that the repository has not got.
    """
    report = facts.report
    text = (
        _templates()
        .get_template("model.md")
        .render(
            title=repository.partition("/")[2],
            version=facts.version,
            report=report,
            round=report.round,
            external=[(each.role, without_paths(each.named)) for each in report.round.external],
            parent=facts.parent,
            began=_began(facts.origin),
            method=_method(facts.recipe),
            licence=_licence(facts.origin),
            rows=list(_rows(facts)),
            trained_on=_trained_on(facts, dataset),
            recipe=yaml.safe_dump(facts.recipe, sort_keys=False, width=100, allow_unicode=True),
            proof=_PROOF.replace("{left_out}", json.dumps([list(each) for each in left_out])),
        )
    )
    return f"---\n{_model_metadata(facts, repository, dataset)}\n---\n\n{text}"


def dataset_card(facts: Facts, repository: str, manifest: Manifest, targets: Mapping[str, int]) -> str:
    """The README.md of the repository of a model's training data: `manifest` is its, `targets` counts rows."""
    text = (
        _templates()
        .get_template("dataset.md")
        .render(
            title=repository.partition("/")[2],
            version=facts.version,
            report=facts.report,
            rows=f"{manifest.rows:,}",
            tasks=_tasks(facts.recipe),
            completions=_completions(facts, manifest),
            targets=", ".join(f"{count:,} {target}" for target, count in sorted(targets.items())),
            digest=manifest.digest,
        )
    )
    return f"---\n{_dataset_metadata(facts, manifest)}\n---\n\n{text}"


def _model_metadata(facts: Facts, repository: str, dataset: str) -> str:
    from huggingface_hub import ModelCardData

    return _yaml(
        ModelCardData,
        facts,
        facts.version.digest,
        **_known(facts.origin),
        **({"datasets": [dataset]} if dataset else {}),
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["selftaught", "self-training", facts.report.recipe, *names(facts.recipe, "train")],
        model_name=repository.partition("/")[2],
        eval_results=_results(facts),
    )


def _known(origin: Origin | None) -> dict[str, Any]:
    """Base model and licence, as far as they are known."""
    if origin is None:
        return {}
    base = {"base_model": origin.repository, "base_model_relation": "finetune"} if origin.repository else {}
    said = origin.licence
    metadata = {"license": said.name, "license_name": said.title, "license_link": said.link}
    return {**base, **{key: value for key, value in metadata.items() if value}}


def _dataset_metadata(facts: Facts, manifest: Manifest) -> str:
    from huggingface_hub import DatasetCardData

    return _yaml(
        DatasetCardData,
        facts,
        manifest.digest,
        tags=["selftaught", "self-training", "synthetic"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data.parquet"}]}],
    )


def _yaml(card: Any, facts: Facts, digest: str, **metadata: Any) -> str:
    """The metadata of a `card`, with what the repository holds."""
    held = {"line": facts.version.line, "version": facts.version.version, "digest": digest}
    return str(card(**metadata, **{MARK: held}).to_yaml())


def _results(facts: Facts) -> list[Any]:
    """The means on the report set, which decided nothing, with their intervals where the hub shows text."""
    from huggingface_hub import EvalResult

    source = str(facts.recipe["tasks"].get("type", "tasks"))
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=source,
            dataset_name=f"{facts.version.line}: report set of {each.n} tasks",
            dataset_split="report",
            metric_type=each.metric,
            metric_name=f"{each.metric}, 95 % interval [{each.low:.3f}, {each.high:.3f}], n = {each.n}",
            metric_value=round(each.mean, 4),
        )
        for each in facts.report.round.summaries
        if each.model == facts.version.digest and each.split == "report"
    ]


def _rows(facts: Facts) -> Iterator[Row]:
    last = facts.report.round
    for this in last.summaries:
        if this.model == facts.version.digest:
            before = last.summary(last.champion, this.metric, this.split)
            gain = last.gain(this.metric, this.split)
            yield Row(
                this.split,
                this.metric,
                f"{this.mean:.3f} [{this.low:.3f}, {this.high:.3f}], n = {this.n}",
                f"{before.mean:.3f} [{before.low:.3f}, {before.high:.3f}]" if before else "",
                f"{gain.gain:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" if gain else "",
            )


def _began(origin: Origin | None) -> str:
    if origin is None:
        return "a model that the registry does not know any more"
    named = f"`{origin.repository}`" if origin.repository else "a model folder"
    return f"{named}, digest `{origin.digest}`"


def _method(recipe: Mapping[str, Any]) -> str:
    axes = ("sample", "verify", "curate", "train")
    return ", ".join(f"{axis} by {' and '.join(f'`{name}`' for name in names(recipe, axis))}" for axis in axes)


def _licence(origin: Origin | None) -> str:
    licence = origin.licence if origin else None
    if licence is None or not licence.name:
        return (
            "Not known: nothing here states the licence of the model that this line started from. Find "
            "out before you share it."
        )
    title = licence.title or licence.name
    named = f"[{title}]({licence.link})" if licence.link else title
    return (
        f"{named}: the licence of the model that this line started from, as {licence.said_by} says. What the tasks "
        "were taken from may have one of its own."
    )


def _trained_on(facts: Facts, dataset: str) -> str:
    rows = {each.digest: each.rows for each in facts.report.round.datasets}.get(facts.examples)
    count = f"{rows:,} examples" if rows is not None else "Examples"
    where = f" They are shared as `{dataset}`." if dataset else ""
    return f"{count} (data set `{facts.examples}`) of tasks from {_tasks(facts.recipe)}.{where}"


def _tasks(recipe: Mapping[str, Any]) -> str:
    """Where the tasks come from: the source's type, and what it names."""
    source = recipe["tasks"]
    named = [f"{key} `{source[key]}`" for key in ("path", "name", "config", "split") if source.get(key)]
    return f"`{source.get('type', 'tasks')}`" + (f" ({', '.join(named)})" if named else "")


def _completions(facts: Facts, manifest: Manifest) -> str:
    replayed = int(manifest.counts.get("replayed", 0))
    sampled = facts.report.round.sampled_from or facts.report.round.champion.digest
    verified = " and ".join(f"`{name}`" for name in names(facts.recipe, "verify")) or "nothing"
    curated = " and ".join(f"`{name}`" for name in names(facts.recipe, "curate"))
    earlier = f"; {replayed:,} of them from earlier rounds" if replayed else ""
    return f"sampled from model `{sampled}`, verified by {verified}, chosen by {curated}{earlier}"


@cache
def _templates() -> Environment:
    return Environment(  # noqa: S701 (Markdown: the hub makes HTML of it, and is careful with what it makes)
        loader=PackageLoader("selftaught.sharing"), undefined=StrictUndefined, keep_trailing_newline=True
    )
