"""How many GPUs a job asks Slurm for, which has two ways to ask: `--gpus`, Snakemake's `gpu`, and `--gres`."""

import re

from isogloss.errors import IsoglossError

_GPUS = re.compile(r"gpu(?::[A-Za-z_][\w.]*)?(?::(\d+))?")  # gpu, gpu:2, gpu:a100, gpu:a100:2


def check_gpus(rule: str, gpu: object, gres: object) -> None:
    """Raise `IsoglossError` if a rule's resources `gpu` and `gres` both ask for GPUs, and not for the same number.

    Slurm would refuse the job, hours later and at every try. What is no number is left to Slurm.
    """
    asked = _GPUS.fullmatch(str(gres))
    if asked is None or not str(gpu).isdecimal() or int(str(gpu)) in (0, int(asked[1] or 1)):
        return
    raise IsoglossError(
        f"set-resources: {rule} asks for {asked[1] or 1} GPU(s) by gres ({gres}) and for {gpu} by gpu: give gpu: 0"
        " beside gres, or the same number"
    )
