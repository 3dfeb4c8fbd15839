"""Measure any one model on benchmarks of lm-evaluation-harness: `selftaught benchmark`.

The harness makes the prompts, asks an engine of ours over the completions endpoint with tokens of its own, and scores
what comes back; so figures are those of `lm_eval` and can be held against others'. Nothing is scored here. Texts are
weighed (multiple choice, perplexity) by vLLM alone; tasks that run what a model wrote are refused. The package is the
extra `harness`.
"""

import importlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from selftaught.core.errors import BadInput, SelftaughtError, Unavailable, did_you_mean
from selftaught.core.loopback import bearer
from selftaught.core.names import named
from selftaught.inference.limiter import PRIORITY, ROUNDS
from selftaught.lines.evaluation import digest_of, engine, serves
from selftaught.platform import Platform
from selftaught.serving.backend import Served
from selftaught.serving.engines.engine import EngineOptions, uses_vllm

LINE = "benchmarks"
"""Whose experiment has the runs of models that are of no line."""
CONTEXT = 2048
"""Tokens of a prompt and its answer that an engine of our own takes at least: as many as `lm_eval` gives a server."""
CONCURRENCY = 64
"""Requests in flight."""
NEW_TOKENS = 256
"""New tokens of an answer whose task says nothing of them, as `lm_eval` has it."""
PATIENCE = 3600
"""Seconds for one answer: many wait for their turn on a small machine."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of the harness, as its own options have it; `limit` under 1 is a share of the examples."""

    tasks: tuple[str, ...]
    num_fewshot: int | None = None
    limit: float | None = None
    chat: bool = False
    include: Path | None = None


@dataclass(frozen=True, slots=True)
class Benchmarked:
    """The harness's own results, its table of them, and how many prompts of a task were cut to fit the context."""

    results: Json
    table: str
    cut: Mapping[str, int]
    context: int


def benchmark(platform: Platform, line: str, model: str, wanted: Wanted, out: Path | None = None) -> Benchmarked:
    """What the harness makes of `model` (of `line`, a folder or a name); with `out` its results and samples there.

    Raises BadInput where the package, a task or what it needs is missing, Unavailable where the engine does not answer.
    """
    named(line or LINE, "--line")
    if out is not None and out.exists() and not out.is_dir():
        raise BadInput(f"--out {out}: a file. Name a folder.")
    manager, tasks = _tasks(wanted)
    digest = digest_of(platform, line or LINE, model)
    options = _options(platform, platform.model(digest))
    with engine(platform, line or LINE, digest, options) as served:
        asked = _client(served, platform.model(digest), options.context)
        results, tracker = _evaluated(asked, manager, tasks, wanted)
    samples: Mapping[str, Any] = results.pop("samples")
    cut = {task: n for task, rows in samples.items() if (n := sum(_too_long(asked, row) for row in rows))}
    if out is not None:
        _write(tracker, results, samples, out)
    result = Benchmarked(results, _table(results), cut, options.context)
    _track(platform, line or LINE, digest, wanted, result)
    return result


# The tasks ------------------------------------------------------------------------------------------------------------


def _harness(module: str = "lm_eval") -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        raise BadInput(
            f"lm-evaluation-harness cannot be used: no package '{missing.name}'. Install it next to Selftaught: "
            "pip install 'selftaught[harness]'"
        ) from None


def _tasks(wanted: Wanted) -> tuple[Any, list[str]]:
    """The harness's task manager and the names and files of `wanted`, all of which it has loaded once."""
    files = [task for task in wanted.tasks if Path(task).is_file()]
    manager = _harness("lm_eval.tasks").TaskManager(
        include_path=str(wanted.include) if wanted.include else None,
        include_defaults=len(files) < len(wanted.tasks),  # listing thousands of them takes seconds
    )
    names = [task for task in wanted.tasks if task not in files]
    for name in names:
        if not manager.match_tasks([name]):
            raise BadInput(
                f"--tasks: lm-evaluation-harness has no task '{name}'.{did_you_mean(name, manager.all_tasks)} "
                "`lm-eval ls tasks` lists them; --include-path FOLDER adds your own."
            )
    chosen = [*files, *manager.match_tasks(names)]
    for name, task in _loaded(manager, chosen).items():
        _check(name, task)
    return manager, chosen


def _loaded(manager: Any, chosen: Sequence[str]) -> Mapping[str, Any]:
    try:
        return manager.load(chosen)["tasks"]
    except ModuleNotFoundError as missing:
        raise BadInput(
            f"--tasks {','.join(chosen)}: needs the package '{missing.name}'. Install what its page of "
            f"lm-evaluation-harness names, or: pip install {missing.name}"
        ) from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0][:400]
        raise BadInput(f"--tasks {','.join(chosen)}: cannot be loaded ({type(error).__name__}: {reason}).") from error


def _check(name: str, task: Any) -> None:
    if getattr(task, "UNSAFE_CODE", False):
        raise BadInput(
            f"--tasks: '{name}' runs code that the model wrote, for which there is no sandbox here. Run it with "
            "`lm-eval run` in its own container, against `selftaught serve`."
        )
    if task.get_config("output_type") != "generate_until" and not uses_vllm():
        raise BadInput(
            f"--tasks: '{name}' weighs given texts, which vLLM's engine alone does. Install it: "
            "uv pip install --override overrides.txt 'selftaught[engine]' (overrides.txt: see docs/recipes.md, Getting "
            "started)"
        )


# Asking ---------------------------------------------------------------------------------------------------------------


def _options(platform: Platform, folder: Path) -> EngineOptions:
    """Those of the settings, with room for the prompts of benchmarks as far as the model has it."""
    options = EngineOptions.from_settings(platform.settings)
    if serves(platform):
        return options
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    longest = int(config.get("max_position_embeddings", CONTEXT))
    return replace(options, context=max(options.context, min(CONTEXT, longest)))


def _client(served: Served, folder: Path, context: int) -> Any:
    """The harness's client of the engine. It would show OPENAI_API_KEY where it is given no headers."""
    return _harness("lm_eval.models.openai_completions").LocalCompletionsAPI(
        model=served.name,
        base_url=f"{served.url}/completions",
        tokenizer_backend="huggingface",
        tokenizer=str(folder),
        header={"Accept": "application/json", PRIORITY: str(ROUNDS), **bearer(served.key)},
        max_length=context,
        max_gen_toks=NEW_TOKENS,
        num_concurrent=CONCURRENCY,
        timeout=PATIENCE,
    )


def _evaluated(asked: Any, manager: Any, tasks: Sequence[str], wanted: Wanted) -> tuple[Json, Any]:
    """The results with their samples, and the harness's tracker, which writes them as `lm_eval` does."""
    import aiohttp

    tracker = _harness("lm_eval.loggers").EvaluationTracker()
    try:
        results = _harness().simple_evaluate(
            model=asked,
            model_args={"model": asked.model, "max_length": asked.max_length + 1},
            tasks=list(tasks),
            num_fewshot=wanted.num_fewshot,
            limit=wanted.limit,
            apply_chat_template=wanted.chat,
            fewshot_as_multiturn=wanted.chat,
            task_manager=manager,
            evaluation_tracker=tracker,
        )
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(
            f"{asked.base_url}: does not answer the harness ({error}). Look at the engine's log."
        ) from None
    return results, tracker


def _too_long(asked: Any, sample: Json) -> bool:
    """Whether the harness cut the beginning of a prompt off, which it says of some requests alone."""
    return any(_tokens(asked, *argument) > asked.max_length for argument in sample["arguments"] if len(argument) > 1)


def _tokens(asked: Any, prompt: str, rest: Any) -> int:
    """Tokens of a prompt with the text that is weighed behind it, or with room for its answer."""
    if isinstance(rest, str):
        return len(asked.tok_encode(prompt + rest))
    return len(asked.tok_encode(prompt)) + int(rest.get("max_gen_toks", rest.get("max_tokens", NEW_TOKENS)))


# Telling --------------------------------------------------------------------------------------------------------------


def _table(results: Json) -> str:
    """As `lm_eval` prints it."""
    make = _harness("lm_eval.utils").make_table
    return "\n".join([make(results), *([make(results, "groups")] if results.get("groups") else [])])


def _write(tracker: Any, results: Json, samples: Mapping[str, Any], out: Path) -> None:
    """As `lm_eval --output_path … --log_samples` writes them, each file atomically."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".writing-") as scratch:
        tracker.output_path = scratch
        tracker.save_results_aggregated(results=results, samples=samples)
        for task, rows in samples.items():
            tracker.save_results_samples(task_name=task, samples=rows)
        made = [path for path in Path(scratch).rglob("*") if path.is_file()]
        if len(made) < 1 + len(samples):  # the harness only warns
            raise SelftaughtError(f"--out {out}: the results could not be written. Is the disk full?")
        for path in sorted(made):
            to = out / path.relative_to(scratch)
            to.parent.mkdir(exist_ok=True)
            path.replace(to)


def _track(platform: Platform, line: str, digest: str, wanted: Wanted, result: Benchmarked) -> None:
    """A run of its own with every figure, the settings, and the harness's results as a file."""
    tasks = ", ".join(wanted.tasks)
    run = platform.tracker.measurement_run(
        line, f"benchmark {digest[:8]}: {tasks}", {"selftaught.model_digest": digest}
    )
    settings = {
        "tasks": tasks,
        "num_fewshot": str(wanted.num_fewshot),
        "limit": str(wanted.limit),
        "apply_chat_template": str(wanted.chat),
        "context": str(result.context),
        "lm_eval": str(result.results.get("lm_eval_version")),
    }
    platform.tracker.log(run, dict(figures(result.results)), params=settings)
    platform.tracker.log_text(run, as_json(result.results), "results.json")
    platform.tracker.log_text(run, result.table, "results.txt")
    platform.tracker.finish(run, "done")


def figures(results: Json) -> Iterator[tuple[str, float]]:
    """Every figure and its standard error by task and metric, and filter where there is one: `gsm8k/exact_match`."""
    for task, of in {**results["results"], **results.get("groups", {})}.items():
        for key, value in of.items():
            metric, comma, filtered = key.partition(",")
            if comma and isinstance(value, int | float):
                name = "/".join([task, metric, *([filtered] if filtered != "none" else [])])
                yield re.sub(r"[^\w./ -]", "_", name), float(value)


def as_json(results: Json) -> str:
    """The harness's results as it writes them."""
    return json.dumps(results, indent=2, default=_harness("lm_eval.utils").handle_non_serializable, ensure_ascii=False)
