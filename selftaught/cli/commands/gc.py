"""Remove what is old and needed by nothing, by the retention policy."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from selftaught.cli.options import AsJson
from selftaught.cli.outcomes import ERROR
from selftaught.cli.printing import err, errors_printed, new_table, out, print_json
from selftaught.retention.policy import RetentionPolicy

app = typer.Typer()


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
                print_json({"action": action, **asdict(fate)})
        return
    table = new_table("goes", "what", "MB", "why")
    for fate in plan.go:
        table.add_row(_KINDS[fate.kind], fate.key, f"{fate.bytes / 1e6:.1f}" if fate.bytes else "", fate.why)
    kept = new_table("stays", "how many", "MB")
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
