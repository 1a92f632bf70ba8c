"""README's table of the papers' tables and figures."""

import re

from checkout import REPOSITORY


def paper_targets(paper: str) -> list[str]:
    """The files, below results/MODEL, that README names for a paper: "A", "B" or "C"."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = text.split("### Every table and figure of the papers")[1].split("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith(f"| {paper}, ")]
    return sorted({target for row in rows for target in re.findall(r"`([^`]+)`", row[3])})
