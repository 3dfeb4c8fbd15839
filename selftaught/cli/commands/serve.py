"""Models that answer: an endpoint, a conversation, and the champion with MLflow in the background."""

from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from selftaught.cli.options import AsJson, Line, LineOrModel
from selftaught.cli.printing import err, errors_printed, out, print_json

app = typer.Typer()


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
            print_json({**asdict(there), "report": report})
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
