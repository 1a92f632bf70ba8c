"""Large pages within report.html, which a browser refuses in the way Snakemake shows them."""

from pathlib import Path

from isogloss.errors import IsoglossError
from isogloss.tables import atomic_path


def add_script(report: Path, script: Path) -> None:
    """Put a script at the end of the report's body; raises `IsoglossError` where the report has none."""
    before, end, after = report.read_text(encoding="utf-8").rpartition("</body>")
    if not end:
        raise IsoglossError(f"{report}: no HTML page: install the pinned version of Snakemake")
    with atomic_path(report) as aside:
        text = script.read_text(encoding="utf-8")
        aside.write_text(f"{before}<script>\n{text}</script>\n{end}{after}", encoding="utf-8")
