# How the package is found: the copy beside these rules, or the installed one where Snakemake reads the rules from a
# repository.
import importlib.util
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

LOCAL = isinstance(workflow.current_basedir, os.PathLike)
if sys.flags.optimize > 1:
    raise WorkflowError(
        "isogloss: unset PYTHONOPTIMIZE: transformers needs docstrings, which Python leaves out with it"
    )
if LOCAL and any(brace in str(workflow.current_basedir) for brace in "{}"):
    raise WorkflowError(
        f"isogloss: the rules are in {workflow.current_basedir}: Snakemake cannot read rules in a folder with {{ or }} in"
        " its name; rename it"
    )
spec = importlib.util.find_spec("isogloss")
# A mere folder of that name has no origin, such as a clone beside the calling Snakefile.
installed = spec and spec.origin
if LOCAL:
    scripts = Path(workflow.current_basedir).parent / "scripts"
    if installed and not scripts.samefile(Path(installed).parents[1]):
        # Python would find it before the folder of a job's script, which Snakemake puts last.
        paths = [str(scripts), os.environ.get("PYTHONPATH")]
        os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, paths)))
    sys.path.insert(0, str(scripts))
    import isogloss

    sys.path.remove(str(scripts))
    if not scripts.samefile(Path(isogloss.__file__).parents[1]):
        raise WorkflowError(
            f"isogloss: these rules are in {scripts.parent}, but {isogloss.__file__} is imported already: import it after"
            " `use rule`, or read the rules of one copy only"
        )
elif not installed:
    raise WorkflowError(
        f"isogloss: the rules come from {workflow.current_basedir}, so the package must be installed: pip install it at"
        " the same version"
    )
