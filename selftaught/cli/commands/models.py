"""The models of a line: list, fetch, show, roll back, and share them on a hub."""

from dataclasses import asdict
from typing import Annotated
from urllib.parse import unquote

import typer

from selftaught.cli.options import AsJson, Line, LineOrAll
from selftaught.cli.printing import err, errors_printed, new_table, open_platform, out, print_json

app = typer.Typer(no_args_is_help=True, help="The models of a line: list, pull, show, rollback, push.")


@app.command("list")
def models_list(line: LineOrAll = "", as_json: AsJson = False) -> None:
    """Every registered model version, its digest, its aliases and where it came from."""
    with errors_printed():
        from selftaught.lines.versions import rows
        from selftaught.platform import Platform

        tracker = Platform.open().tracker
        found = rows(tracker, line)
        if as_json:
            print_json(found)
            return
        if not found:
            err.print(f"no models yet in {tracker.uri}", highlight=False, soft_wrap=True)
        keys = ("line", "version", "short", "aliases", "outcome", "recipe", "round")
        shown = [[str(row[key]) for key in keys] for row in found]
        out.print_rows(("line", "version", "digest", "aliases", "outcome", "recipe", "round"), *shown)


@app.command("pull")
def models_pull(
    name: Annotated[str, typer.Argument(help="a starter model, a hub id or a folder")] = "smollm2-135m-instruct",
) -> None:
    """Fetch a starter model, check its sha256, keep it in the store."""
    with errors_printed():
        from selftaught.round.adopt import keep

        digest, uri = keep(open_platform(), name)
        out.print(f"{digest}  {unquote(uri)}", soft_wrap=True, highlight=False)


@app.command("show")
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
        table = new_table("what", "value", title=f"{line} version {version.version}")
        table.add_row("digest", version.digest)
        table.add_row("files", unquote(version.uri))
        table.add_row("MLflow run", version.run)
        tags = {key.removeprefix("selftaught."): value for key, value in tracker.version_tags(version).items()}
        for key in sorted(tags.keys() - {"digest"}):
            table.add_row(key, tags[key])
        out.print(table)


@app.command("rollback")
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


@app.command("push")
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
                print_json(asdict(pushed))
            else:
                said = "" if pushed.new else "   (was there already)"
                out.print(f"{pushed.url}  {pushed.digest}{said}", soft_wrap=True, highlight=False)
