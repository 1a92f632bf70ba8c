import json
import subprocess
import sys
import tempfile
from pathlib import Path

from isogloss.resources import CAPTIONS

# The same study, written out whole, so that the report is of what ran whatever came from the command line.
with tempfile.TemporaryDirectory() as folder, Path(snakemake.log[0]).open("w") as log:
    # Beside this script, or in the repository that Snakemake reads the rules from: git+file://REPOSITORY/PATH@VERSION
    repository, _, version = snakemake.scriptdir.rpartition("/workflow/scripts")
    study = Path(folder, "study.json")
    study.write_text(json.dumps(snakemake.params.study))
    command = [sys.executable, "-m", "snakemake", "results", "--snakefile", f"{repository}/Snakefile{version}"]
    command += ["--configfile", str(study), "--report", snakemake.output[0]]
    command += ["--report-stylesheet", str(CAPTIONS / "style.css"), "--nolock"]
    sys.exit(subprocess.run(command, stdout=log, stderr=log).returncode)
