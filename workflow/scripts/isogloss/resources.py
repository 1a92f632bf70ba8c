"""Where the files are that the package reads and that are no code."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent  # Snakemake gives jobs workflow/rules/../scripts
_INSTALLED = (_PACKAGE / "_resources").is_dir()  # `pip install` puts the folders into the package (setup.py)

# The table of languages, the prompts and the toy world's wordings; captions and style of the report.
RESOURCES = _PACKAGE / "_resources" if _INSTALLED else _PACKAGE.parents[2] / "resources"
CAPTIONS = _PACKAGE / "_captions" if _INSTALLED else _PACKAGE.parents[1] / "report"
# The stages' scripts, whose code the rules' digests are made of.
SCRIPTS = _PACKAGE / "_scripts" if _INSTALLED else _PACKAGE.parent
