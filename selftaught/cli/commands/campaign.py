"""Campaigns as files (`-f`)."""

import json

import typer

from selftaught.cli.printing import errors_printed, out

app = typer.Typer(no_args_is_help=True, help="Campaigns as files (-f): schema.")


@app.command("schema")
def campaign_schema() -> None:
    """The JSON Schema of a campaign's file, for editors."""
    with errors_printed():
        from selftaught.campaign.spec import schema

        out.file.write(json.dumps(schema(), indent=2) + "\n")
