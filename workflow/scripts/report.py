import json
import subprocess
import sys
import tempfile
from pathlib import Path

# The same study, written out whole, so that the report is of what ran whatever came from the command line.
with tempfile.TemporaryDirectory() as folder, Path(snakemake.log[0]).open("w") as log:
    repository = Path(snakemake.scriptdir).resolve().parents[1]
    study = Path(folder, "study.json")
    study.write_text(json.dumps(snakemake.params.study))
    command = [sys.executable, "-m", "snakemake", "results", "--snakefile", str(repository / "Snakefile")]
    command += ["--configfile", str(study), "--report", snakemake.output[0]]
    command += ["--report-stylesheet", str(repository / "workflow/report/style.css"), "--nolock"]
    sys.exit(subprocess.run(command, stdout=log, stderr=log).returncode)
