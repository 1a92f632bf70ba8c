#!/bin/bash
# bash slurm/recover.sh, where snakemake ran: cleans up after a snakemake that was killed, as its own Ctrl-C would have.
# Cancels the jobs that it left in Slurm, waits until they have ended, and takes away its lock. Then run the same command.
# Not while a snakemake runs here: it would lose its jobs and its lock.
set -euo pipefail
here=$(pwd -P)

# Jobs that Snakemake submitted from this folder: no others, not even of this user.
left() {
  squeue --noheader --user "$(id -un)" --format '%A|%k|%Z' | awk -F '|' -v here="$here" '$2 ~ /^rule_/ && $NF == here {print $1}'
}

jobs=$(left)
if [ -n "$jobs" ]; then
  echo "cancelling the Slurm jobs" $jobs
  scancel $jobs
fi
# Until they have ended they may still write what the next run makes.
for _ in $(seq 300); do
  jobs=$(left)
  [ -z "$jobs" ] && exec snakemake --unlock --quiet all
  sleep 1
done
echo "still there after five minutes:" $jobs >&2
exit 1
