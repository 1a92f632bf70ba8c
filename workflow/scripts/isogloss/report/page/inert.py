"""Snakemake's report made safe to open: no text in its data ends the script that holds them."""

import re
from pathlib import Path

from isogloss.tables import atomic_path

_DATA = re.compile(r'^( *<script id="[\w-]+">\n *var \w+ = )(.*)(;)$', re.MULTILINE)


def write_inert(made: Path, output: Path) -> None:
    """Write the report that Snakemake made to `output`, its data inert."""
    with atomic_path(output) as aside:
        aside.write_text(inert(made.read_text(encoding="utf-8")), encoding="utf-8")


def inert(report: str) -> str:
    """The report with every `<` of its data written as an escape.

    Snakemake 9.27 puts parameters, labels and captions as JSON into scripts and leaves `<` as it is: a `</script>` in
    any of them would end the script, and what follows would run. JSON has `<` in texts alone, so the escape is safe.
    """
    return _DATA.sub(lambda line: line[1] + line[2].replace("<", "\\u003c") + line[3], report)
