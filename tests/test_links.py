"""Every link within the project's pages leads to a file that is there, and to a heading in it.

Links to other sites are not followed.
"""

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGES = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=REPOSITORY, capture_output=True, text=True, check=True
).stdout.split()
CODE = re.compile(r"```.*?```", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of `page`."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str):
    at, lost = REPOSITORY / page, list[str]()
    for link in LINK.findall(CODE.sub("", at.read_text(encoding="utf-8"))):
        path, _, heading = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        to = (at.parent / path).resolve() if path else at
        if not to.exists() or (heading and to.suffix == ".md" and heading not in anchors(to)):
            lost.append(link)
    assert not lost
