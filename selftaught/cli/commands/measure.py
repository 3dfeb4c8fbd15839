"""Measure models: on a recipe's tasks, arms of an effect, benchmarks, and the champion on what arrived since."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from selftaught.cli.options import AsJson, Line, LineName, Overrides, Profile, RecipePath
from selftaught.cli.outcomes import FELL
from selftaught.cli.printing import err, errors_printed, new_table, open_platform, out, print_json
from selftaught.core.errors import BadInput
from selftaught.core.unproven import is_unproven

app = typer.Typer()


@app.command()
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="a model of the line (champion, head, a version or digest), a folder or a name; or a model behind a "
            "URL as recipes write it: '{url: \"https://host/v1\", model: NAME, api_key_env: VARIABLE}'"
        ),
    ],
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
    line: LineName = "",
    split: Annotated[str, typer.Option(help="gate, guard or report, or set.NAME")] = "report",
    to: Annotated[
        Path | None,
        typer.Option("--out", help="file for every answer with its verdicts: JSON, a line a metric and task"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure one model with a recipe's metrics on its held-out tasks."""
    with errors_printed():
        from selftaught.lines.evaluation import evaluate_model
        from selftaught.recipe import Recipe

        parsed = Recipe.load(recipe, overrides, profile)
        summaries = evaluate_model(open_platform(), parsed, line or parsed.name, model, split, to)
        if as_json:
            print_json([asdict(summary) for summary in summaries])
            return
        table = new_table("split", "metric", "mean", "95 % interval", "tasks", "new tokens a task")
        for s in summaries:
            interval = "all tasks alike" if s.low == s.high else f"{s.low:.3f} – {s.high:.3f}"
            tokens = "–" if s.tokens is None else f"{s.tokens / s.n:.0f}"
            table.add_row(s.split, s.metric, f"{s.mean:.3f}", interval, str(s.n), tokens)
        out.print(table)
        for unproven in sorted({s.model for s in summaries if is_unproven(s.model)}):
            err.print(f"{unproven}: nobody has proven which weights answered.", style="yellow", soft_wrap=True)


@app.command()
def compare(
    effects: Annotated[list[Path], typer.Argument(help="files of effects, such as effects/rft.yaml")],
    profile: Profile = "",
    seeds: Annotated[int, typer.Option(min=0, help="repetitions (0: as many as the effect's file says)")] = 0,
    to: Annotated[
        Path | None,
        typer.Option("--out", help="file for the results; results/<name>.json beside the effect unless given"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan of each arm, run nothing")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the arms of an effect and say whether the effect is shown. Killed at any moment, the same command resumes."""
    with errors_printed():
        from selftaught.effects.effect import Effect

        if to and len(effects) > 1:
            raise BadInput(f"--out {to}: one file for {len(effects)} effects. Leave it out, or compare one of them.")
        name = f".{profile}.json" if profile else ".json"
        loaded = [(Effect.load(path, profile), to or path.parent / "results" / (path.stem + name)) for path in effects]
        if dry_run:
            for effect, _ in loaded:
                _print_arms(effect, as_json)
            return
        platform = open_platform()
        for effect, file in loaded:
            _compare(platform, effect, seeds or effect.seeds, file, as_json)


def _print_arms(effect: Any, as_json: bool) -> None:
    """What the arms would run with their first seed; those of one recipe run once."""
    from selftaught.campaign.estimate import plan
    from selftaught.effects.arms import alike, order
    from selftaught.platform import Platform

    platform = Platform.open()
    for arms in alike(effect):
        recipe, planned = effect.recipes[arms[0].name], plan(platform, order(effect, arms[0], 1))
        trains = bool(recipe.stages[-1].train)
        if as_json:
            named = {arm.name: effect.metric_of(arm) for arm in arms}
            print_json({"arms": named, "set": [*effect.set, *arms[0].set], "trains": trains, **planned.as_dict()})
        else:
            each = "; ".join(f"{arm.name} by {effect.metric_of(arm)}" for arm in arms)
            only = "" if trains else "\n  trains nothing: of this plan its report tasks are measured, with one model"
            out.print(f"{effect.system}: {each}{only}\n{planned.text()}", highlight=False, soft_wrap=True)


def _compare(platform: Any, effect: Any, seeds: int, file: Path, as_json: bool) -> None:
    from selftaught.cli.live import watcher
    from selftaught.effects.arms import run_arms
    from selftaught.effects.comparison import comparisons
    from selftaught.effects.results import Results

    stored = Results.read(file) if file.exists() else Results(effect=effect)
    if replaced := len(stored.runs) - len(stored.current(effect).runs):
        words = f"{file}: {replaced} runs of former recipes or metrics of {effect.system} are replaced."
        err.print(words, style="yellow", highlight=False, soft_wrap=True)
    with watcher(err, print_json if as_json else None) as watch:
        for run in run_arms(platform, effect, seeds, file, watch):
            words = f"{effect.system}: {run.arm}, seed {run.seed}: {run.outcome}, {run.minutes:g} min"
            err.print(words, style="green", highlight=False, soft_wrap=True)
    err.print(f"{effect.system}: {effect.claim}\n  results: {file}", highlight=False, soft_wrap=True)
    for found in comparisons(Results.read(file)):
        _print_comparison(found, as_json)


def _print_comparison(found: Any, as_json: bool) -> None:
    from selftaught.effects.table import difference, sides

    if as_json:
        kept = {name: value for name, value in asdict(found).items() if name not in ("arm", "control")}
        print_json({"arm": found.arm.arm, "control": found.control.arm, **kept, "visible": found.visible})
        return
    of = f"{found.seeds} seeds, {found.tasks} tasks; smallest visible {found.visible:.3f}"
    out.print(f"{found.verdict}: {sides(found)}, {difference(found)}, {of}", highlight=False, soft_wrap=True)


@app.command()
def benchmark(
    model: Annotated[
        str, typer.Argument(help="a model of --line (champion, head, a version or digest), a folder or a name")
    ],
    tasks: Annotated[str, typer.Option(help="names as lm-eval has them, or YAML files of tasks, with commas between")],
    line: Annotated[str, typer.Option("--line", help="model line; none is needed for a folder or a name")] = "",
    num_fewshot: Annotated[int | None, typer.Option(min=0, help="solved examples in a prompt; the task's own")] = None,
    limit: Annotated[
        float | None, typer.Option(min=0, help="examples of a task, or a share of them below 1; all of them")
    ] = None,
    chat: Annotated[
        bool, typer.Option("--apply-chat-template", help="prompts as a conversation, in the model's own template")
    ] = False,
    include: Annotated[
        Path | None, typer.Option("--include-path", exists=True, file_okay=False, help="folder of your own tasks")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="folder for the results and every sample, as lm-eval writes them")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure one model on benchmarks of lm-evaluation-harness (gsm8k, hellaswag, … : `lm-eval ls tasks`)."""
    with errors_printed():
        from selftaught.lines.benchmark import Wanted, figures
        from selftaught.lines.benchmark import benchmark as measured

        names = tuple(name.strip() for name in tasks.split(",") if name.strip())
        result = measured(open_platform(), line, model, Wanted(names, num_fewshot, limit, chat, include), to)
        if as_json:
            print_json({"figures": dict(figures(result.results)), "cut": dict(result.cut)})
        else:
            out.print(result.table, highlight=False, soft_wrap=True)
        for task, number in result.cut.items():
            words = (
                f"{task}: {number} prompts were cut to fit {result.context} tokens. "
                "SELFTAUGHT_ENGINE_CONTEXT takes more."
            )
            err.print(f"warning: {words}", style="yellow", highlight=False, soft_wrap=True)


@app.command()
def watch(
    line: Line,
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
    campaign: Annotated[str, typer.Option(help="the campaign that uses the batches (default: the recipe's name)")] = "",
    margin: Annotated[float | None, typer.Option(help="a fall that is too much; the gate's guard_margin")] = None,
    alpha: Annotated[float, typer.Option(min=1e-9, max=0.5, help="error probability of an alarm, in each look")] = 0.01,
    roll_back: Annotated[
        bool, typer.Option("--rollback", envvar="SELFTAUGHT_ROLLBACK", help="go back to `previous` where it is better")
    ] = False,
    webhook: Annotated[str, typer.Option(envvar="SELFTAUGHT_WEBHOOK", help="URL that an alarm is posted to")] = "",
    as_json: AsJson = False,
) -> None:
    """Measure the champion on tasks that arrived since its promotion; a fall is an alarm and ends with 4."""
    with errors_printed():
        from selftaught.lines.watch import Guard, default_margin, post
        from selftaught.lines.watch import watch as look
        from selftaught.platform import Platform
        from selftaught.recipe import Recipe

        parsed = Recipe.load(recipe, overrides, profile)
        guard = Guard(default_margin(parsed) if margin is None else margin, alpha, roll_back)
        found = look(Platform.open(), parsed, line, campaign or parsed.name, guard)
        if as_json:
            print_json(asdict(found))
        fell = found.outcome == "fell"
        words = f"{'ALARM ' if fell else ''}{line} version {found.champion}: {found.outcome}. {found.reason}"
        err.print(words, style="red" if fell else "green", highlight=False, soft_wrap=True)
        if fell and webhook and (failed := post(webhook, found)):
            err.print(failed, style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(FELL if fell else 0)
