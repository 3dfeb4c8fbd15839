"""The command line: `selftaught run` and all other commands.

Thin: parses, calls the library, prints. Exit codes: 0 promoted (or the command did what was asked), 3 refused by the
gate, 4 the champion fell (`watch`), 1 an error that its message explains, 2 wrong usage. A run that finds no new tasks
has done what was asked and ends with 0, for schedules take anything else for a failure; its JSON says
`"outcome": "nothing new"`. `--json` prints one JSON object a line on standard output for machines; everything else a
person reads goes to standard error. What libraries print goes there too: standard output holds this program's answers.
"""

import json
import logging
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import typer
from rich.table import Column, Table
from rich.text import Text

from selftaught import __version__
from selftaught.cli.completion import complete_axis, complete_family, complete_line, complete_profile, complete_recipe
from selftaught.cli.terminal import Terminal
from selftaught.core import shipped
from selftaught.core.errors import BadInput, EarlyStop, NothingNew, SelftaughtError
from selftaught.core.unproven import is_unproven
from selftaught.retention.policy import RetentionPolicy

PROMOTED, ERROR, USAGE, REFUSED, FELL = 0, 1, 2, 3, 4
"""The documented exit codes."""

app = typer.Typer(
    name="selftaught",
    help="Language models that teach themselves. Exit codes: 0 promoted, trained, done or nothing new, 3 refused, "
    "4 fell, 1 error, 2 usage.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
recipes_app = typer.Typer(no_args_is_help=True, help="The recipes: list, show, validate, schema, blocks.")
tasks_app = typer.Typer(no_args_is_help=True, help="Inbox tasks: upload, list.")
rounds_app = typer.Typer(no_args_is_help=True, help="The rounds of a line: abandon, restore.")
campaign_app = typer.Typer(no_args_is_help=True, help="Campaigns as files (-f): schema.")
init_app = typer.Typer(no_args_is_help=True, help="The beginning of a recipe, a block, a plug-in.")
rollouts_app = typer.Typer(no_args_is_help=True, help="The answers of a round: show, export.")
steps_app = typer.Typer(no_args_is_help=True, help="Steps with labels, for process reward models: export, import.")
models_app = typer.Typer(no_args_is_help=True, help="The models of a line: list, pull, show, rollback, push.")
app.add_typer(init_app, name="init")
app.add_typer(recipes_app, name="recipes")
app.add_typer(campaign_app, name="campaign")
app.add_typer(models_app, name="models")
app.add_typer(tasks_app, name="tasks")
app.add_typer(rounds_app, name="rounds")
app.add_typer(rollouts_app, name="rollouts")
app.add_typer(steps_app, name="steps")

out, err = Terminal(), Terminal(stderr=True)

RecipePath = Annotated[
    Path,
    typer.Argument(help="a recipe file, or the name of a shipped recipe, such as rft", autocompletion=complete_recipe),
]
Line = Annotated[str, typer.Argument(help="the model line", autocompletion=complete_line)]
LineOrAll = Annotated[str, typer.Argument(help="one line; all of them unless given", autocompletion=complete_line)]
LineOrModel = Annotated[
    str,
    typer.Argument(help="the model line; or a folder, a starter model, a hub id", autocompletion=complete_line),
]
Overrides = Annotated[
    list[str], typer.Option("--set", help="override a field: stages.main.sample.k=4 (may be repeated)")
]
Profile = Annotated[
    str,
    typer.Option("--profile", help="a profile of the recipe, merged over it", autocompletion=complete_profile),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for machines")]
OptionalRecipe = Annotated[
    Path | None,
    typer.Argument(help="a recipe file, or the name of a shipped recipe, such as rft", autocompletion=complete_recipe),
]
CampaignYaml = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="a campaign's file in place of a recipe; options override what it says"),
]
LineName = Annotated[
    str,
    typer.Option("--line", help="model line; the recipe's name unless given", autocompletion=complete_line),
]
COMPILED = shipped.pipelines()
Pipelines = Annotated[Path, typer.Option(help="folder of compiled pipelines", show_default="those that are shipped")]


@contextmanager
def errors_printed() -> Generator[None]:
    """Print a user's error as its message alone and leave with 1; an interrupt says how to resume.

    What others print meanwhile (MLflow and KFP tell of the pages that they have) is not an answer of ours.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except SelftaughtError as error:
        err.print(f"error: {error}", style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(ERROR) from None
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        words = f"error: {named}{error.strerror or error}. Fix it and rerun the same command."
        err.print(words, style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(ERROR) from None
    except KeyboardInterrupt:
        err.print("stopped. Rerun the same command to resume.")
        raise typer.Exit(130) from None


def _platform() -> Any:
    """The platform of a command that stores something; a home that it is about to create is announced."""
    from selftaught.platform import Platform

    platform = Platform.open()
    if not platform.settings.home.exists():
        message = f"making a new home: {platform.settings.home}  (set SELFTAUGHT_HOME for another)"
        err.print(message, highlight=False, soft_wrap=True)
    return platform


def _table(*columns: str, title: str | None = None) -> Table:
    """A table whose cells continue in the next line where there is no room for them: what is cut off helps nobody."""
    return Table(*(Column(name, overflow="fold") for name in columns), title=title)


def _print(value: Any) -> None:
    out.file.write(json.dumps(value) + "\n")
    out.file.flush()


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    """Selftaught."""
    out.file = sys.stdout  # whatever becomes of it while others may print: see `errors_printed`
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal or a pipe that cannot show a letter gets its number
            stream.reconfigure(errors="backslashreplace")
    for quiet in ("HF_HUB_DISABLE_PROGRESS_BARS", "TRANSFORMERS_NO_ADVISORY_WARNINGS"):
        os.environ.setdefault(quiet, "1")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # it warns of every try as well
    logging.getLogger("stamina").setLevel(logging.ERROR)  # it logs every retry, and their outcome is reported anyway
    if version:
        out.print(__version__)
        raise typer.Exit


# Running ------------------------------------------------------------------------------------------------------------


@app.command()
def run(
    recipe: OptionalRecipe = None,
    file: CampaignYaml = None,
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
    rounds: Annotated[int, typer.Option(min=0, help="rounds to run (0: as many as the recipe's stages define)")] = 0,
    line: LineName = "",
    campaign: Annotated[str, typer.Option(help="name of the campaign; the recipe's name unless given")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the plan and what it will cost, run nothing")
    ] = False,
    shards: Annotated[
        int | None, typer.Option(min=1, help="sampling tasks that run side by side (2 unless given)")
    ] = None,
    max_hours: Annotated[
        float | None, typer.Option(min=0, help="begin no round once the campaign's have taken so many hours")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=0, help="begin no round once the campaign's have taken so many new tokens")
    ] = None,
    pipelines: Pipelines = COMPILED,
    as_json: AsJson = False,
) -> None:
    """Run a recipe for its rounds. Killed at any moment, the same command resumes where it was."""
    with errors_printed():
        from selftaught.campaign.estimate import plan
        from selftaught.campaign.limits import Limits
        from selftaught.campaign.local import Campaign
        from selftaught.cli.live import watcher
        from selftaught.cli.orders import OrderOptions
        from selftaught.platform import Platform
        from selftaught.state.tracking import NOTHING_NEW

        asked = OrderOptions(recipe, file, overrides, profile, line, campaign, shards)
        limits = Limits(max_hours, max_tokens)
        order = replace(asked.order(shards=2), rounds=rounds, pipelines=pipelines, limits=limits)
        platform = Platform.open() if dry_run else _platform()
        planned = plan(platform, order)
        if as_json:
            _print(planned.as_dict())
        else:
            err.print(planned.text(), highlight=False, soft_wrap=True)
        if dry_run:
            return
        with watcher(err, _print if as_json else None) as watch:
            outcome = _followed(Campaign(platform, order, watch).run(), as_json)
        raise typer.Exit(PROMOTED if outcome in ("promoted", "trained", NOTHING_NEW, LIMIT, EARLY) else REFUSED)


def _followed(rounds: Iterator[Any], as_json: bool) -> str:
    """Tell each of `rounds` as it ends. Returns the outcome of the last; a limit is one where it is all there is."""
    from selftaught.campaign.local import LimitReached, Skipped, StoppedEarly
    from selftaught.state.tracking import NOTHING_NEW

    outcome = ""
    for ended in rounds:
        if isinstance(ended, Skipped):
            outcome = NOTHING_NEW
            _print_nothing(ended, as_json)
        elif isinstance(ended, LimitReached):
            outcome = outcome or LIMIT
            _print_spent(ended, as_json)
        elif isinstance(ended, StoppedEarly):
            outcome = outcome or EARLY
            _print_early(ended, as_json)
        else:
            outcome = ended.report.last.outcome
            _print_outcome(ended.report, ended.page, as_json)
    return outcome


LIMIT = "limit reached"
EARLY = "stopped early"


def _print_early(stop: Any, as_json: bool) -> None:
    if as_json:
        _print({"round": stop.key.number, "outcome": EARLY, "reason": stop.reason})
        return
    words = f"Stopped early, before round {stop.key.number}: {stop.reason}. Without the control it goes on."
    err.print(words, style="yellow", highlight=False, soft_wrap=True)


def _print_spent(spent: Any, as_json: bool) -> None:
    if as_json:
        _print({"round": spent.key.number, "outcome": LIMIT, "reason": spent.reason})
        return
    number = spent.key.number
    words = f"Stopped before round {number}: {spent.reason}. The same command with a higher limit, or none, goes on."
    err.print(words, style="yellow", highlight=False, soft_wrap=True)


def _print_nothing(quiet: Any, as_json: bool) -> None:
    if as_json:
        _print({"round": quiet.key.number, "outcome": "nothing new", "reason": quiet.reason})
        return
    words = f"Round {quiet.key.number}: nothing new. {quiet.reason}"
    err.print(words, style="yellow", highlight=False, soft_wrap=True)


def _print_outcome(data: Any, page: Path, as_json: bool) -> None:
    from selftaught.report.outcome import headline, numbers

    last, compared = data.last, headline(data.last)
    if as_json:
        _print({"round": last.round, "outcome": last.outcome, "report": str(page), **last.model_dump(mode="json")})
        return
    words = f"Round {last.round}: {last.outcome}. {numbers(compared) if compared else ''}"
    err.print(words, style="yellow" if last.outcome == "refused" else "green", highlight=False)
    for check in last.gate.checks if last.gate else ():
        err.print(f"  {'✓' if check.passed else '✗'} {check.reason}", highlight=False)
    err.print(f"  report: {page}", highlight=False, soft_wrap=True)


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
        summaries = evaluate_model(_platform(), parsed, line or parsed.name, model, split, to)
        if as_json:
            _print([_fields(summary) for summary in summaries])
            return
        table = _table("split", "metric", "mean", "95 % interval", "tasks", "new tokens a task")
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
        platform = _platform()
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
            _print({"arms": named, "set": [*effect.set, *arms[0].set], "trains": trains, **planned.as_dict()})
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
    with watcher(err, _print if as_json else None) as watch:
        for run in run_arms(platform, effect, seeds, file, watch):
            words = f"{effect.system}: {run.arm}, seed {run.seed}: {run.outcome}, {run.minutes:g} min"
            err.print(words, style="green", highlight=False, soft_wrap=True)
    err.print(f"{effect.system}: {effect.claim}\n  results: {file}", highlight=False, soft_wrap=True)
    for found in comparisons(Results.read(file)):
        _print_comparison(found, as_json)


def _print_comparison(found: Any, as_json: bool) -> None:
    from selftaught.effects.table import difference, sides

    if as_json:
        kept = {name: value for name, value in _fields(found).items() if name not in ("arm", "control")}
        _print({"arm": found.arm.arm, "control": found.control.arm, **kept, "visible": found.visible})
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
        result = measured(_platform(), line, model, Wanted(names, num_fewshot, limit, chat, include), to)
        if as_json:
            _print({"figures": dict(figures(result.results)), "cut": dict(result.cut)})
        else:
            out.print(result.table, highlight=False, soft_wrap=True)
        for task, number in result.cut.items():
            words = (
                f"{task}: {number} prompts were cut to fit {result.context} tokens. "
                "SELFTAUGHT_ENGINE_CONTEXT takes more."
            )
            err.print(f"warning: {words}", style="yellow", highlight=False, soft_wrap=True)


def _fields(value: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(value)


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
            _print(_fields(found))
        fell = found.outcome == "fell"
        words = f"{'ALARM ' if fell else ''}{line} version {found.champion}: {found.outcome}. {found.reason}"
        err.print(words, style="red" if fell else "green", highlight=False, soft_wrap=True)
        if fell and webhook and (failed := post(webhook, found)):
            err.print(failed, style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(FELL if fell else 0)


@app.command()
def report(
    line: Line,
    to: Annotated[Path, typer.Option("--to", help="where to write the page")] = Path("report.html"),
    campaign: Annotated[str, typer.Option(help="the campaign; the line's only one unless given")] = "",
) -> None:
    """Write the report of the line's last finished round again; a later one that failed is mentioned."""
    with errors_printed():
        from selftaught.lines.versions import known
        from selftaught.platform import Platform
        from selftaught.report.page import write
        from selftaught.round.history import failed_last, newest_of, page_of

        platform = Platform.open()
        last = newest_of(platform, known(platform.tracker, line), campaign)
        write(page_of(platform, last), to)
        out.print(str(to), soft_wrap=True)
        if failed := failed_last(platform, line, last.campaign):
            err.print(f"not in it: {failed}", style="yellow", highlight=False, soft_wrap=True)


@app.command("compile")
def compile_pipeline(
    places: Annotated[str, typer.Option(help="where tasks run: a file in pipelines/placements, without .yaml")] = "cpu",
    into: Annotated[Path, typer.Option(help="folder to write them to")] = Path("pipelines/compiled"),
) -> None:
    """Compile pipelines/round.py (in a checkout)."""
    import runpy

    with errors_printed():
        source = Path("pipelines/round.py")
        if not source.exists():
            raise BadInput(f"{source}: not here. Run this in a checkout of the project.")
        runpy.run_path(str(source))["main"](into, places)
        out.print(str(into), soft_wrap=True)


# On a cluster ---------------------------------------------------------------------------------------------------------

Shards = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="sampling tasks that run in parallel (default 1, or the campaign file's); a round that has started keeps "
        "its own",
    ),
]
AbandonAfter = Annotated[
    int, typer.Option(min=0, help="give up rounds of the line that began so many hours ago and did not end (0: none)")
]
CampaignName = Annotated[str, typer.Option(help="name of the campaign; the recipe's name unless given")]


@app.command()
def adopt(
    recipe: OptionalRecipe = None,
    file: CampaignYaml = None,
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
    line: LineName = "",
) -> None:
    """Bring a recipe's models into a line's store and registry; a line that has a champion keeps it. Needs torch."""
    with errors_printed():
        from selftaught.cli.orders import OrderOptions
        from selftaught.round.adopt import adopt as adopted
        from selftaught.round.adopt import adopt_roles

        order = OrderOptions(recipe, file, overrides, profile, line).order(shards=1)
        platform = _platform()
        champion = adopted(platform, order.recipe, order.line)
        adopt_roles(platform, order.recipe, order.line)
        out.print(f"{champion.line}: champion is version {champion.version} ({champion.digest[:8]})")


@app.command()
def submit(
    recipe: OptionalRecipe = None,
    file: CampaignYaml = None,
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
    line: LineName = "",
    campaign: CampaignName = "",
    shards: Shards = None,
    pipelines: Pipelines = COMPILED,
    abandon_after: AbandonAfter = 0,
    as_json: AsJson = False,
) -> None:
    """Submit the round that is due to Kubeflow Pipelines (SELFTAUGHT_KFP), and return."""
    with errors_printed():
        from selftaught.campaign.kfp.runner import KfpRunner
        from selftaught.campaign.runs import submit as submitted
        from selftaught.cli.orders import OrderOptions
        from selftaught.platform import Platform

        asked = OrderOptions(recipe, file, overrides, profile, line, campaign, shards)
        order = replace(asked.order(shards=1), pipelines=pipelines)
        try:
            platform = Platform.open()
            made = submitted(platform, KfpRunner(platform), order, abandon_after * 3600)
        except NothingNew as nothing:  # a normal outcome: a schedule takes any other exit code for a failure
            _print({"outcome": "nothing new", "reason": str(nothing)}) if as_json else out.print(str(nothing))
            return
        except EarlyStop as stop:  # as normal
            _print({"outcome": EARLY, "reason": str(stop)}) if as_json else out.print(str(stop))
            return
        if as_json:
            _print({**_fields(made.run), "abandoned": made.abandoned})
            return
        for name in made.abandoned:
            out.print(f"{name}: abandoned", highlight=False)
        run = made.run
        out.print(f"{run.name}: run {run.id} of {run.version} in {run.experiment}", highlight=False, soft_wrap=True)


@app.command()
def schedule(
    recipe: OptionalRecipe = None,
    file: CampaignYaml = None,
    cron: Annotated[str, typer.Option(help="when: minute hour day month weekday, such as '0 3 * * 1'")] = "",
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
    line: LineName = "",
    campaign: CampaignName = "",
    shards: Shards = None,
    time_zone: Annotated[str, typer.Option(help="of the cron, such as Europe/Berlin (Etc/UTC unless given)")] = "",
    abandon_after: AbandonAfter = 168,
    as_json: AsJson = False,
) -> None:
    """Run rounds on a schedule: a CronJob that submits, instead of the line's schedule before."""
    with errors_printed():
        from selftaught.campaign.kfp.schedules import schedule as scheduled
        from selftaught.cli.orders import OrderOptions
        from selftaught.platform import Platform

        asked = OrderOptions(recipe, file, overrides, profile, line, campaign, shards)
        clock = asked.clock(cron.strip(), time_zone, abandon_after)
        made = scheduled(Platform.open(), asked.order(shards=1), clock)
        if as_json:
            _print(_fields(made))
            return
        for name in made.replaced:
            out.print(f"{name}: recurring run removed", highlight=False)
        out.print(f"{made.namespace}/{made.name}: {made.cron}", highlight=False)


@app.command()
def stop(line: Line, as_json: AsJson = False) -> None:
    """Stop a line's runs, here and on Kubeflow Pipelines. A round stays due: the next run or submit resumes it."""
    with errors_printed():
        from selftaught.campaign.runs import stop as stopped
        from selftaught.lines.versions import known
        from selftaught.platform import Platform

        platform = Platform.open()
        gone = stopped(platform, known(platform.tracker, line))
        if as_json:
            _print([_fields(run) for run in gone])
            return
        for run in gone:
            out.print(f"{run.name}: run {run.id} is stopped", highlight=False, soft_wrap=True)
        if not gone:
            out.print(f"{line}: nothing is running", highlight=False)


@rounds_app.command("abandon")
def rounds_abandon(
    line: Annotated[str, typer.Argument(help="the model line")],
    campaign: Annotated[str, typer.Argument(help="the campaign whose round is not finished")],
    as_json: AsJson = False,
) -> None:
    """Give up a campaign's round that is not finished: the next one is redrawn, and `gc` takes what it made."""
    with errors_printed():
        from selftaught.campaign.runs import abandon
        from selftaught.lines.versions import known
        from selftaught.platform import Platform

        platform = Platform.open()
        gone = abandon(platform, known(platform.tracker, line), campaign)
        if as_json:
            _print({"line": line, "campaign": campaign, "round": gone.key.number, "attempt": gone.key.attempt})
            return
        out.print(f"{line} {campaign} round {gone.key.number}, attempt {gone.key.attempt}: abandoned", highlight=False)


@rounds_app.command("restore")
def rounds_restore(
    line: Annotated[str, typer.Argument(help="the model line")],
    as_json: AsJson = False,
) -> None:
    """Make a line's runs, versions and pages in MLflow again from the store, after the tracking database was lost."""
    with errors_printed():
        from selftaught.platform import Platform
        from selftaught.round.projection import restore

        for each in restore(Platform.open(), line):
            if as_json:
                _print({"round": each.key.name, "run": each.run, "outcome": each.outcome})
            else:
                out.print(f"{each.key.name}: {each.outcome or 'not finished'} ({each.run})", highlight=False)


@app.command()
def status(line: Line, as_json: AsJson = False) -> None:
    """How a line is: its champion, what is served, the last rounds, the runs; 1 if some is not known."""
    with errors_printed():
        from selftaught.lines.status import status_of
        from selftaught.platform import Platform

        found = status_of(Platform.open(), line)
        if as_json:
            _print(found.as_dict())
        else:
            out.print(found.text(), highlight=False, soft_wrap=True)
        if found.unknown:
            raise typer.Exit(ERROR)


@app.command()
def reconcile(
    line: LineOrAll = "",
    when_free: Annotated[
        bool, typer.Option("--when-free", help="wait until no other process is using the line")
    ] = False,
) -> None:
    """Have the stable address lead to the champion, and stop serving what was replaced and is out of its grace."""
    with errors_printed():
        from selftaught.lines.drift import settled
        from selftaught.lines.versions import known
        from selftaught.platform import Platform
        from selftaught.round.in_use import reconcile_line, reconcile_lines, tidy_when_free

        platform = Platform.open()
        one = tidy_when_free if when_free else reconcile_line
        if line:
            done = reconcile_lines(platform, [known(platform.tracker, line)], one)
        elif (lines := settled(platform)) is not None:
            done = (f"{each}: as it has to be" for each in lines)
        else:
            done = reconcile_lines(platform, platform.tracker.lines(), one)
        for said in done:
            out.print(said)


@campaign_app.command("schema")
def campaign_schema() -> None:
    """The JSON Schema of a campaign's file, for editors."""
    with errors_printed():
        from selftaught.campaign.spec import schema

        out.file.write(json.dumps(schema(), indent=2) + "\n")


# Beginnings ---------------------------------------------------------------------------------------------------------

Into = Annotated[Path, typer.Option("--into", file_okay=False, help="the folder to write to")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="what it is called")]
NewAxis = Annotated[
    Literal["verify", "control", "train"],
    typer.Option("--axis", help="whether it is a verifier, a control or an objective"),
]


@init_app.command("recipe")
def init_recipe(name: NewName, into: Into = Path()) -> None:
    """Write NAME.yaml: a recipe that runs as it is, with a word on every axis."""
    with errors_printed():
        from selftaught.cli import scaffold

        _print_written(scaffold.recipe(name, into), f"selftaught run {into / name}.yaml --dry-run")


@init_app.command("block")
def init_block(name: NewName, into: Into = Path(), axis: NewAxis = "verify") -> None:
    """Write NAME.py, a block, and its test; `init plugin` makes a package that recipes know."""
    with errors_printed():
        from selftaught.cli import scaffold

        _print_written(scaffold.block(name, into, axis), f"python -m pytest {into / f'test_{name}.py'}")


@init_app.command("plugin")
def init_plugin(name: NewName, into: Into = Path(), axis: NewAxis = "verify") -> None:
    """Write the folder NAME: a package with a block and its test, whose entry point makes the block known."""
    with errors_printed():
        from selftaught.cli import scaffold

        _print_written(scaffold.plugin(name, into, axis), f"cd {into / name} && python -m pytest")


def _print_written(paths: list[Path], then: str) -> None:
    for path in paths:
        out.print(str(path), highlight=False, soft_wrap=True)
    err.print(f"next: {then}", highlight=False, soft_wrap=True)


# Recipes ------------------------------------------------------------------------------------------------------------


@recipes_app.command("list")
def recipes_list(
    folder: Annotated[
        Path, typer.Argument(help="a folder of recipes", show_default="those that are shipped")
    ] = shipped.recipes(),  # noqa: B008
    family: Annotated[str, typer.Option(help="only those of this family", autocompletion=complete_family)] = "",
    paper: Annotated[str, typer.Option(help="only those whose paper has this title, author or number")] = "",
    bibtex: Annotated[bool, typer.Option("--bibtex", help="their papers as BibTeX instead")] = False,
    as_json: AsJson = False,
) -> None:
    """The recipes that are shipped, or every recipe in a folder, with what they do."""
    with errors_printed():
        from selftaught.recipe import Recipe
        from selftaught.recipe.about import references, require_family

        require_family(family)
        found = {path: Recipe.load(path) for path in sorted(folder.glob("*.yaml"))}
        if not found:
            raise BadInput(f"{folder}: no recipes (*.yaml) here. Name no folder for those that are shipped.")
        found = {path: recipe for path, recipe in found.items() if recipe.follows(family, paper)}
        if not found:
            raise BadInput(
                f"{folder}: none of its recipes has such a family or paper. List them without --family and --paper."
            )
        if bibtex:
            out.file.write(references(recipe.about for recipe in found.values()))
        elif as_json:
            _print([_listed(path, recipe) for path, recipe in found.items()])
        else:
            shown = [[r.name, *_origin(r), str(_from_here(path)), r.description] for path, r in found.items()]
            out.print_rows(("recipe", "family", "paper", "file", "what it does"), *shown)


def _listed(path: Path, recipe: Any) -> dict[str, Any]:
    about = recipe.about and recipe.about.model_dump(mode="json")
    said = {"name": recipe.name, "description": recipe.description, "digest": recipe.digest}
    return {"path": str(path), **said, "about": about}


def _origin(recipe: Any) -> tuple[str, str]:
    """The family and the paper of `recipe`, as far as it says them."""
    paper = recipe.about and recipe.about.paper
    return (recipe.about.family if recipe.about else ""), (paper.where if paper else "")


def _from_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@recipes_app.command("show")
def recipes_show(
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
) -> None:
    """A recipe with every default spelt out."""
    with errors_printed():
        import yaml

        from selftaught.recipe import Recipe

        parsed = Recipe.load(recipe, overrides, profile)
        spelt = yaml.safe_dump(parsed.model_dump(mode="json"), sort_keys=False).rstrip()
        out.print(spelt, highlight=False, soft_wrap=True)


@recipes_app.command("validate")
def recipes_validate(
    recipes: Annotated[list[Path], typer.Argument(help="recipe files")],
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
) -> None:
    """Check recipes, with their profiles; the first mistake ends with 1 and says what to write instead."""
    with errors_printed():
        from selftaught.recipe import Recipe
        from selftaught.round.checks.context_length import require_room
        from selftaught.round.checks.external import require_asked_in_words
        from selftaught.round.checks.roles import require_named
        from selftaught.settings import Settings

        settings = Settings.load()
        for path in recipes:
            recipe = Recipe.load(path, overrides, profile)
            others = () if profile else recipe.profiles
            for each in (recipe, *(_in_profile(path, overrides, other) for other in others)):
                require_room(each, settings)
                require_named(each)
                require_asked_in_words(each)
            out.print(f"{path}: ok ({recipe.digest[:12]})", highlight=False)


def _in_profile(path: Path, overrides: list[str], profile: str) -> Any:
    from selftaught.core.errors import BadRecipe
    from selftaught.recipe import Recipe

    try:
        return Recipe.load(path, overrides, profile)
    except BadRecipe as error:
        inherited = str(path) not in str(error)
        how = f"\n  it is inherited: `profiles: {{{profile}: null}}` leaves it out" if inherited else ""
        raise BadRecipe(f"profile {profile} of {path}: {error}{how}") from None


@recipes_app.command("schema")
def recipes_schema() -> None:
    """The JSON Schema of a recipe, for editors."""
    with errors_printed():
        from selftaught.recipe import schema

        out.file.write(json.dumps(schema(), indent=2) + "\n")


@recipes_app.command("blocks")
def recipes_blocks(
    axis: Annotated[str, typer.Argument(help="an axis; all of them unless given", autocompletion=complete_axis)] = "",
    as_json: AsJson = False,
) -> None:
    """The blocks on an axis, with their fields; of one axis each field with its type, default and meaning."""
    with errors_printed():
        from selftaught.cli.block_fields import fields
        from selftaught.recipe import AXES, blocks

        found = {(name, kind): block for name in ([axis] if axis else AXES) for kind, block in blocks(name).items()}
        if as_json:
            _print([{"axis": a, "type": t, "fields": [_fields(f) for f in fields(b)]} for (a, t), b in found.items()])
            return
        if axis:
            for (_, kind), block in found.items():
                _print_fields(kind, block, fields(block))
            return
        table = _table("axis", "type", "what it does", "fields")
        for (name, kind), block in found.items():
            table.add_row(name, kind, _summary(block), ", ".join(f for f in block.model_fields if f != "type"))
        out.print(table)


def _summary(block: Any) -> str:
    return (block.__doc__ or "").split("\n")[0]


def _print_fields(kind: str, block: Any, fields: Any) -> None:
    out.print(f"{kind}: {_summary(block)}", soft_wrap=True, highlight=False)
    table = _table("field", "type", "default", "meaning")
    for each in fields:
        table.add_row(each.name, each.type, each.default, each.meaning)
    out.print(table)


# Fresh tasks --------------------------------------------------------------------------------------------------------


@tasks_app.command("upload")
@tasks_app.command("drop", hidden=True)  # its name in earlier versions
def tasks_upload(
    files: Annotated[list[Path], typer.Argument(help="files of tasks or of feedback (*.jsonl, *.parquet)")],
    to: Annotated[str, typer.Option("--to", help="a folder or s3://bucket/prefix; the recipe's unless given")] = "",
    recipe: Annotated[Path | None, typer.Option(help="recipe with the path and the column names")] = None,
    profile: Profile = "",
    date: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="date of the batch (default: today)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check files row by row and upload them as one batch, which a round finds complete or not at all."""
    with errors_printed():
        from selftaught.campaign.estimate import worked
        from selftaught.recipe import Recipe
        from selftaught.round.intake import inbox
        from selftaught.tasks.inbox.source import Inbox

        if not to and recipe is None:
            raise BadInput("no destination. Pass --to WHERE, or --recipe RECIPE whose tasks come from an inbox.")
        parsed = Recipe.load(recipe, profile=profile) if recipe else None
        source = inbox(parsed) if parsed else Inbox(path=to)
        if warning := worked(source.read(files), parsed):
            err.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
        made = source.model_copy(update={"path": to or source.path}).upload(files, (date or datetime.now(UTC)).date())
        if as_json:
            _print({"drop": made.name, "tasks": len(made.rows), "feedback": len(made.said)})
        else:
            counted = f"{len(made.rows)} tasks, {len(made.said)} rows of feedback"
            out.print(f"{made.name}: {counted}", highlight=False, soft_wrap=True)


@tasks_app.command("list")
def tasks_list(
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
    line: LineName = "",
    campaign: Annotated[str, typer.Option(help="name of the campaign; the recipe's name unless given")] = "",
    as_json: AsJson = False,
) -> None:
    """Every batch of a recipe, used or waiting, and whether a round would find enough (`nothing_new` is then empty)."""
    with errors_printed():
        from selftaught.platform import Platform
        from selftaught.recipe import Recipe
        from selftaught.round.intake import listed

        parsed, platform = Recipe.load(recipe, overrides, profile), Platform.open()
        found, lacking = listed(platform, parsed, line or parsed.name, campaign or parsed.name)
        if as_json:
            _print({"drops": [_fields(each) for each in found], "nothing_new": lacking or ""})
            return
        table = _table("batch", "state", "tasks", "what is wrong")
        for each in found:
            table.add_row(each.drop, each.state, "" if each.tasks is None else str(each.tasks), each.problem)
        out.print(table)
        err.print(lacking or "enough for a round", highlight=False, soft_wrap=True)


# Step data ----------------------------------------------------------------------------------------------------------

StepFormat = Annotated[
    Literal["trl", "math-shepherd", "prm800k"], typer.Option("--format", help="as whose data set the rows are")
]


RoundNumber = Annotated[int, typer.Option("--round", min=0, help="the round; 0 is the last that finished")]
OfTask = Annotated[str, typer.Option("--task", help="only of tasks whose id begins so")]
Passed = Annotated[
    bool | None, typer.Option("--passed/--failed", help="only those that every verifier passed, or that one did not")
]
OfCampaign = Annotated[str, typer.Option("--campaign", help="the campaign; the line's only one unless given")]


@rollouts_app.command("show")
def rollouts_show(
    line: Line,
    number: RoundNumber = 0,
    task: OfTask = "",
    passed: Passed = None,
    limit: Annotated[int, typer.Option(min=1, help="rollouts at most")] = 10,
    campaign: OfCampaign = "",
    as_json: AsJson = False,
) -> None:
    """What the model answered in a round, and what the verifiers said of it."""
    with errors_printed():
        from selftaught.lines.rollouts import of_round, require_some, rows
        from selftaught.lines.versions import known
        from selftaught.platform import Platform

        platform = Platform.open()
        found = of_round(platform, known(platform.tracker, line), campaign, number)
        shown = list(islice(rows(found.groups, task, passed), limit))
        require_some(len(shown), found)
        for each in shown:
            if as_json:
                _print(each)
            else:
                _print_rollout(each)


def _print_rollout(row: Any) -> None:
    """The answer under its question, with the verdicts."""
    mark, style = ("✓", "green") if row["passed"] else ("✗", "yellow")
    head = (
        f"{mark} {row['task'][:12]} rollout {row['rollout']}, {row['completion_tokens']} tokens, {row['finish_reason']}"
    )
    out.print(head, style=style, highlight=False, soft_wrap=True)
    for message in (*row["prompt"], *row["completion"]):
        out.print(f"{message['role']}: {message['content']}", highlight=False, soft_wrap=True)
        for call in message.get("tool_calls", ()):
            name, arguments = (call["function"][each] for each in ("name", "arguments"))
            out.print(f"calls {name}({arguments})", highlight=False, soft_wrap=True)
    if row["answer"] is not None:
        out.print(f"gold answer: {row['answer']}", highlight=False, soft_wrap=True)
    for verdict in row["verdicts"]:
        said = verdict["error"] or verdict["reason"]
        how = "could not judge" if verdict["error"] else "passed" if verdict["passed"] else "failed"
        out.print(f"{verdict['verifier']} {how}{f': {said}' if said else ''}", highlight=False, soft_wrap=True)
    out.print()


@rollouts_app.command("export")
def rollouts_export(
    line: Line,
    to: Annotated[Path, typer.Option("--to", help="a *.jsonl file, or a new folder for a Hugging Face data set")],
    number: RoundNumber = 0,
    task: OfTask = "",
    passed: Passed = None,
    campaign: OfCampaign = "",
    as_json: AsJson = False,
) -> None:
    """Write what the model answered in a round, a row a rollout, with its task and verdicts."""
    with errors_printed():
        from selftaught.lines.rollouts import export, of_round, rows
        from selftaught.lines.versions import known
        from selftaught.platform import Platform

        platform = Platform.open()
        found = of_round(platform, known(platform.tracker, line), campaign, number)
        count = export(found, rows(found.groups, task, passed), to)
        if as_json:
            _print({"line": line, "round": found.round, "rollouts": count, "to": str(to)})
            return
        out.print(f"{to}: {count} rollouts of round {found.round}", highlight=False, soft_wrap=True)


@steps_app.command("export")
def steps_export(
    line: Line,
    to: Annotated[Path, typer.Option("--to", help="the file, JSON Lines")],
    kind: StepFormat = "trl",
    labels: Annotated[
        Literal["inferred", "estimates"], typer.Option(help="what steps are worth: as the step_values curator has it")
    ] = "inferred",
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="worth from which on a step is right; unless given, a right answer below it"),
    ] = None,
    campaign: Annotated[str, typer.Option(help="the campaign; the line's only one unless given")] = "",
    as_json: AsJson = False,
) -> None:
    """Write the trees of the line's last finished round as steps with labels, a row a path."""
    with errors_printed():
        from selftaught.lines.versions import known
        from selftaught.platform import Platform
        from selftaught.stepwise.transfer import export

        platform = Platform.open()
        made = export(platform, known(platform.tracker, line), campaign, to, kind, labels, threshold)
        _print_account(made, f"{to}: {made.solutions} solutions of {made.rows} tasks", as_json)


@steps_app.command("import")
def steps_import(
    file: Annotated[Path, typer.Argument(help="*.jsonl or *.parquet")],
    to: Annotated[Path, typer.Option("--to", help="folder for the data set of value examples; a new one")],
    kind: StepFormat = "trl",
    kept: Annotated[
        Literal["soft", "hard"],
        typer.Option("--labels", help="step values where they are known, or only 1 and 0"),
    ] = "soft",
    neutral: Annotated[Literal["right", "wrong"], typer.Option(help="what a step is that prm800k rates 0")] = "right",
    separator: Annotated[str, typer.Option(help="separator between steps", show_default="a line break")] = "\n",
    as_json: AsJson = False,
) -> None:
    """Make value examples of others' steps with labels; a row that cannot be used is skipped and reported."""
    with errors_printed():
        from selftaught.stepwise.transfer import imported

        made = imported(file, kind, to, kept, neutral, separator)
        summary = f"{to}: {made.examples} value examples of {made.solutions} solutions in {made.rows} rows"
        _print_account(made, summary, as_json)


SHOWN = 10
"""Rows set aside that are named; `--json` names all."""


def _print_account(made: Any, words: str, as_json: bool) -> None:
    _print(_fields(made)) if as_json else out.print(words, highlight=False, soft_wrap=True)
    for where, why in made.aside[:SHOWN]:
        err.print(f"set aside: {where}: {why}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if len(made.aside) > SHOWN:
        err.print(f"set aside: {len(made.aside) - SHOWN} more. --json names all.", style="yellow", highlight=False)


# Models -------------------------------------------------------------------------------------------------------------


@models_app.command("list")
def models_list(line: LineOrAll = "", as_json: AsJson = False) -> None:
    """Every registered model version, its digest, its aliases and where it came from."""
    with errors_printed():
        from selftaught.lines.versions import rows
        from selftaught.platform import Platform

        tracker = Platform.open().tracker
        found = rows(tracker, line)
        if as_json:
            _print(found)
            return
        if not found:
            err.print(f"no models yet in {tracker.uri}", highlight=False, soft_wrap=True)
        keys = ("line", "version", "short", "aliases", "outcome", "recipe", "round")
        shown = [[str(row[key]) for key in keys] for row in found]
        out.print_rows(("line", "version", "digest", "aliases", "outcome", "recipe", "round"), *shown)


@models_app.command("pull")
def models_pull(
    name: Annotated[str, typer.Argument(help="a starter model, a hub id or a folder")] = "smollm2-135m-instruct",
) -> None:
    """Fetch a starter model, check its sha256, keep it in the store."""
    with errors_printed():
        from selftaught.round.adopt import keep

        digest, uri = keep(_platform(), name)
        out.print(f"{digest}  {unquote(uri)}", soft_wrap=True, highlight=False)


@models_app.command("show")
def models_show(
    line: Line,
    model: Annotated[str, typer.Argument(help="champion, head, a version or a digest")] = "champion",
) -> None:
    """Where a model came from: recipe, parent, data sets, evaluation."""
    with errors_printed():
        from selftaught.lines.versions import find
        from selftaught.platform import Platform

        tracker = Platform.open().tracker
        version = find(tracker, line, model)
        table = _table("what", "value", title=f"{line} version {version.version}")
        table.add_row("digest", version.digest)
        table.add_row("files", unquote(version.uri))
        table.add_row("MLflow run", version.run)
        tags = {key.removeprefix("selftaught."): value for key, value in tracker.version_tags(version).items()}
        for key in sorted(tags.keys() - {"digest"}):
            table.add_row(key, tags[key])
        out.print(table)


@models_app.command("rollback")
def models_rollback(
    line: Line,
    to: Annotated[str, typer.Option("--to", help="previous, base, a version or a digest")] = "previous",
) -> None:
    """Point the champion alias back. The model that was champion stays registered as `previous`."""
    with errors_printed():
        from selftaught.lines.versions import rollback
        from selftaught.platform import Platform

        platform = Platform.open()
        old, new = rollback(platform.tracker, platform.serving(), line, to)
        out.print(f"{line}: champion is version {new.version} ({new.digest[:8]}) again; it was version {old.version}.")


@models_app.command("push")
def models_push(
    model: Annotated[str, typer.Argument(help="LINE for its champion, or LINE@VERSION (a number, an alias, a digest)")],
    repository: Annotated[str, typer.Argument(help="owner/name on the hub that HF_ENDPOINT names")],
    dataset: Annotated[str, typer.Option(help="owner/name for the examples that it was trained on")] = "",
    public: Annotated[
        bool, typer.Option("--public", help="make new repositories public; private unless given")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Share a promoted version on a model hub, with a card, as whom HF_TOKEN says; again, it changes nothing."""
    with errors_printed():
        from selftaught.lines.versions import find
        from selftaught.platform import Platform
        from selftaught.sharing.push import push

        platform, (line, _, named) = Platform.open(), model.partition("@")
        for pushed in push(platform, find(platform.tracker, line, named or "champion"), repository, dataset, public):
            if as_json:
                _print(_fields(pushed))
            else:
                said = "" if pushed.new else "   (was there already)"
                out.print(f"{pushed.url}  {pushed.digest}{said}", soft_wrap=True, highlight=False)


# Serving ------------------------------------------------------------------------------------------------------------


@app.command()
def serve(
    line: LineOrModel,
    model: Annotated[str, typer.Option(help="champion, head, a version or a digest")] = "champion",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on loopback; 0 takes a free one")] = 8000,
) -> None:
    """Serve a model of a line, or any other, on an OpenAI-compatible endpoint until stopped."""
    with errors_printed():
        from selftaught.lines.serve import serve_until_stopped
        from selftaught.platform import Platform

        serve_until_stopped(Platform.open(), line, model, port, lambda text: err.print(text, highlight=False))


@app.command()
def chat(
    line: LineOrModel,
    message: Annotated[str, typer.Argument(help="one message; a conversation unless given")] = "",
    model: Annotated[str, typer.Option(help="champion, head, a version or a digest")] = "champion",
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy decoding")] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="new tokens of an answer at most")] = 256,
) -> None:
    """Talk to the champion, or any model. Uses the endpoint that serves it, or starts one for the conversation."""
    with errors_printed():
        from selftaught.lines.serve import converse
        from selftaught.platform import Platform

        say = partial(out.print, highlight=False, soft_wrap=True)
        converse(Platform.open(), line, model, message, temperature, max_tokens, say)


@app.command()
def up(
    line: Line,
    port: Annotated[int, typer.Option(min=0, max=65535, help="port of the endpoint; another when it is taken")] = 8000,
    ui_port: Annotated[int, typer.Option(min=0, max=65535, help="port of the MLflow UI")] = 5000,
    as_json: AsJson = False,
) -> None:
    """Serve the champion and the MLflow UI in the background (`selftaught down` stops them)."""
    with errors_printed():
        from selftaught.lines.background import up as bring_up
        from selftaught.platform import Platform

        platform = Platform.open()
        there = bring_up(platform, line, port, ui_port)
        page = platform.settings.home / "campaigns" / line / "report.html"
        report = str(page) if page.exists() else ""
        if as_json:
            _print({**_fields(there), "report": report})
            return
        out.print(f"champion  {there.line}, digest {there.digest}", soft_wrap=True, highlight=False)
        out.print(f"endpoint  {there.endpoint}   talk to it: selftaught chat {line}", soft_wrap=True, highlight=False)
        out.print(f"its key   {there.key}   (Authorization: Bearer, OPENAI_API_KEY)", soft_wrap=True, highlight=False)
        out.print(f"MLflow    {there.mlflow}", soft_wrap=True, highlight=False)
        if report:
            out.print(f"report    {report}", soft_wrap=True, highlight=False)
        out.print("stop both with: selftaught down", soft_wrap=True, highlight=False)


@app.command()
def down() -> None:
    """Stop what `up` started."""
    with errors_printed():
        from selftaught.lines.background import down as bring_down
        from selftaught.platform import Platform

        out.print(f"stopped: {', '.join(bring_down(Platform.open())) or 'nothing was running'}")


# The machine --------------------------------------------------------------------------------------------------------


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is missing on this machine, and on the cluster of the settings, and how to get it."""
    with errors_printed():
        from selftaught.doctor import cluster
        from selftaught.doctor.machine import checks
        from selftaught.settings import Settings

        findings = [*checks(), *cluster.checks(Settings.load())]
        if as_json:
            _print([_fields(finding) for finding in findings])
        else:
            for finding in findings:
                mark = {True: Text("✓", "green"), False: Text("✗", "red"), None: Text("?", "yellow")}[finding.ok]
                err.print(mark, str(finding), highlight=False, soft_wrap=True)
        raise typer.Exit(ERROR if any(finding.ok is False for finding in findings) else 0)


@app.command()
def clean(
    everything: Annotated[bool, typer.Option("--all", help="also models, data sets, registry and reports")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Stop engines that were left behind and free what can be made again; `--all` removes the entire home."""
    with errors_printed():
        from selftaught.lines.home import clean_home
        from selftaught.settings import Settings

        home = Settings.load().home
        if everything and not yes:
            typer.confirm(f"Remove {home} with every model and report in it?", abort=True)
        freed = clean_home(home, everything)
        out.print(f"{home}: {freed / 1e6:.0f} MB freed", soft_wrap=True)


# Retention ----------------------------------------------------------------------------------------------------------


def _days(of: str) -> Any:
    return typer.Option(min=1, help=f"days: {RetentionPolicy.model_fields[of].description}")


KEPT = RetentionPolicy()


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what would go and why, remove nothing")] = False,
    line: Annotated[str, typer.Option("--line", help="only what is of this line; everything unless given")] = "",
    keep_rollouts: Annotated[int, _days("rollouts")] = KEPT.rollouts,
    keep_trees: Annotated[int, _days("trees")] = KEPT.trees,
    keep_scores: Annotated[int, _days("scores")] = KEPT.scores,
    keep_models: Annotated[int, _days("models")] = KEPT.models,
    keep_journals: Annotated[int, _days("journals")] = KEPT.journals,
    keep_served: Annotated[int, _days("served")] = KEPT.served,
    keep_pipelines: Annotated[int, _days("pipelines")] = KEPT.pipelines,
    keep_torn: Annotated[int, _days("torn")] = KEPT.torn,
    as_json: AsJson = False,
) -> None:
    """Remove what is old and needed by nothing; never a champion's lineage. Killed, the same command does the rest."""
    with errors_printed():
        from selftaught.campaign.kfp.versions import Versions
        from selftaught.lines.versions import known
        from selftaught.platform import Platform
        from selftaught.retention.collecting import Collector
        from selftaught.retention.inventory import NoPipelines

        policy = RetentionPolicy(
            rollouts=keep_rollouts,
            trees=keep_trees,
            scores=keep_scores,
            models=keep_models,
            journals=keep_journals,
            served=keep_served,
            pipelines=keep_pipelines,
            torn=keep_torn,
        )
        platform = Platform.open()
        pipelines = Versions(platform.settings) if platform.settings.kfp else NoPipelines()
        only = known(platform.tracker, line) if line else ""
        collector = Collector(platform, policy, only, platform.serving(), pipelines)
        if dry_run:
            plan = collector.plan()
            _print_plan(plan, as_json)
        else:
            plan = collector.collect(lambda plan: _print_plan(plan, as_json), lambda fate: None)
        if plan.unknown:
            words = f"not known: versions of pipelines, which stay. {plan.unknown}"
            err.print(words, style="yellow", highlight=False, soft_wrap=True)
            raise typer.Exit(ERROR)


def _print_plan(plan: Any, as_json: bool) -> None:
    if as_json:
        for action, fates in (("remove", plan.go), ("keep", plan.kept)):
            for fate in fates:
                _print({"action": action, **_fields(fate)})
        return
    table = _table("goes", "what", "MB", "why")
    for fate in plan.go:
        table.add_row(_KINDS[fate.kind], fate.key, f"{fate.bytes / 1e6:.1f}" if fate.bytes else "", fate.why)
    kept = _table("stays", "how many", "MB")
    for why, fates in sorted(_by_reason(plan.kept).items()):
        kept.add_row(why, str(len(fates)), f"{sum(fate.bytes for fate in fates) / 1e6:.1f}")
    shown = [kept, table] if plan.go else [kept]
    out.print(*shown, f"{len(plan.go)} to go, {plan.bytes / 1e6:.1f} MB", sep="\n", highlight=False)


_KINDS = {
    "served": "endpoint",
    "pipeline": "pipeline version",
    "journal": "journal",
    "mark": "mark",
    "claim": "claim",
    "models": "model",
    "datasets": "data set",
    "unmark": "mark taken off",
}


def _by_reason(fates: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for fate in fates:
        found.setdefault(fate.why, []).append(fate)
    return found
