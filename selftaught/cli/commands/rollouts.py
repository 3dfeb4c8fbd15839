"""The answers of a round: show them, or export them for other programs."""

from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from selftaught.cli.options import AsJson, Line, OfCampaign
from selftaught.cli.printing import errors_printed, out, print_json

app = typer.Typer(no_args_is_help=True, help="The answers of a round: show, export.")


RoundNumber = Annotated[int, typer.Option("--round", min=0, help="the round; 0 is the last that finished")]


OfTask = Annotated[str, typer.Option("--task", help="only of tasks whose id begins so")]


Passed = Annotated[
    bool | None, typer.Option("--passed/--failed", help="only those that every verifier passed, or that one did not")
]


@app.command("show")
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
                print_json(each)
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


@app.command("export")
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
            print_json({"line": line, "round": found.round, "rollouts": count, "to": str(to)})
            return
        out.print(f"{to}: {count} rollouts of round {found.round}", highlight=False, soft_wrap=True)
