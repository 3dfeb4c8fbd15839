"""Write the table of docs/effects.md from the result files: `python scripts/effects_page.py`. A test compares them."""

from pathlib import Path

from selftaught.effects.table import page, stored

REPOSITORY = Path(__file__).parents[1]
PAGE, RESULTS = REPOSITORY / "docs" / "effects.md", REPOSITORY / "effects" / "results"


def main() -> None:
    """Rewrite the page's table; what stands above it is kept."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), stored(RESULTS)), encoding="utf-8")


if __name__ == "__main__":
    main()
