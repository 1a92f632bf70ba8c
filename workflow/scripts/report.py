import json
import subprocess
import sys
import tempfile
from pathlib import Path

from isogloss.report.page.frames import add_script
from isogloss.report.page.inert import write_inert
from isogloss.resources import CAPTIONS

# FOLDER/workflow/rules/../scripts, or where Snakemake reads a repository on GitHub.
folder = snakemake.scriptdir.replace("/rules/..", "").removesuffix("/workflow/scripts")
if folder.startswith("https://raw.githubusercontent.com/"):
    owner, name, version = folder.split("/")[3:6]
    snakefile = f"gh:{owner}/{name}@{version}:Snakefile"
else:
    snakefile = f"{folder}/Snakefile"

# The same study, written out whole, so that the report is of what ran whatever came from the command line.
with tempfile.TemporaryDirectory() as scratch, Path(snakemake.log[0]).open("w") as log:
    study = Path(scratch, "study.json")
    study.write_text(json.dumps(snakemake.params.study))
    workflow = Path(scratch, "Snakefile")
    workflow.write_text(
        f"report: {str(Path(str(snakemake.input.overview)).absolute())!r}\n"
        f"module isogloss:\n    snakefile: {snakefile!r}\n    config: config\n"
        "use rule * from isogloss\n"
    )
    command = [sys.executable, "-m", "snakemake", "results", "--snakefile", str(workflow)]
    made = Path(scratch, "report.html")
    command += ["--configfile", str(study), "--report", str(made)]
    command += ["--report-stylesheet", str(CAPTIONS / "style.css"), "--nolock"]
    if code := subprocess.run(command, stdout=log, stderr=log).returncode:
        sys.exit(code)
    add_script(made, CAPTIONS / "frames.js")
    write_inert(made, Path(snakemake.output[0]))
