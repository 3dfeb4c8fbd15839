"""Terminal output: partly from untrusted sources, so it is escaped to plain text.

Control characters are written by name, and square brackets are square brackets: rich's own markup is off, so a file
called `[/red].csv` is shown and not parsed. Colours are given as styles, by whoever prints.
"""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from typing_extensions import override

from selftaught.core.characters import named


class Terminal(Console):
    """A rich console that takes no markup and lets no control character of the text through."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    @override
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of `renderable`; rich's own control segments (a progress bar's cursor) pass."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else named(text), style, control)

    def print_rows(self, *rows: Sequence[str]) -> None:
        """One line a row, aligned, as long as it has to be: for names that are copied and programs that read lines."""
        shown = [[named(cell) for cell in row] for row in rows]
        widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
        for row in shown:
            padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
            self.print("  ".join(padded).rstrip(), highlight=False, soft_wrap=True)
