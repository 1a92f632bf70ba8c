import json
import subprocess
import sys
import tempfile
from pathlib import Path

from isogloss.resources import CAPTIONS

# The same study, written out whole, so that the report is of what ran whatever came from the command line.
with tempfile.TemporaryDirectory() as scratch, Path(snakemake.log[0]).open("w") as log:
    # FOLDER/workflow/rules/../scripts or, where Snakemake reads a repository, git+file://FOLDER/workflow/scripts@VERSION
    folder, _, version = snakemake.scriptdir.replace("/rules/..", "").rpartition("/workflow/scripts")
    study = Path(scratch, "study.json")
    study.write_text(json.dumps(snakemake.params.study))
    command = [sys.executable, "-m", "snakemake", "results", "--snakefile", f"{folder}/Snakefile{version}"]
    command += ["--configfile", str(study), "--report", snakemake.output[0]]
    command += ["--report-stylesheet", str(CAPTIONS / "style.css"), "--nolock"]
    sys.exit(subprocess.run(command, stdout=log, stderr=log).returncode)
