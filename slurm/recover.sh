#!/bin/bash
# bash slurm/recover.sh [FOLDER], where snakemake ran, or with the folder of its --directory (`real` of `make real`): cleans
# up after a snakemake that was killed, as its own Ctrl-C would have. Ends the jobs that it left, here and in Slurm, waits
# until they have ended, and takes away its lock. Then run the same command. Not while a snakemake runs there: it would lose
# its jobs and its lock.
set -euo pipefail
workflow=$(cd "$(dirname "$0")/.." && pwd -P)
PATH="$PATH:$workflow/.venv/bin" # where no environment is active
cd "${1:-.}"
here=$(pwd -P)

# Jobs that Snakemake submitted from this folder: no others, not even of this user. Where nothing was ever submitted, Slurm
# need not answer.
submitted() {
  command -v squeue >/dev/null || return 0
  local listed
  listed=$(squeue --noheader --user "$(id -un)" --format '%A|%k|%Z' 2>&1) || {
    [ -d .snakemake/slurm_logs ] || return 0
    echo "squeue does not answer, so jobs may be left: $listed" >&2
    return 1
  }
  awk -F '|' -v here="$here" '$2 ~ /^rule_/ && $NF == here {print $1}' <<<"$listed"
}

# Processes of this machine that run a script of this folder's Snakemake.
running() {
  ps -A -o pid= -o command= | awk -v scripts="$here/.snakemake/scripts/" 'index($0, scripts) && !/awk/ {print $1}'
}

# A workflow of one's own, which imports isogloss, has its Snakefile where it runs.
snakefile="$workflow/Snakefile"
for own in Snakefile workflow/Snakefile; do
  [ -f "$own" ] && snakefile="$here/$own" && break
done

jobs=$(submitted)
if [ -n "$jobs" ]; then
  echo "cancelling the Slurm jobs" $jobs
  scancel $jobs
fi
processes=$(running)
if [ -n "$processes" ]; then
  echo "ending the processes" $processes
  kill $processes 2>/dev/null || true
  kill -CONT $processes 2>/dev/null || true # one that was stopped (Ctrl-Z) ends only now
fi
# Until they have ended they may still write what the next run makes.
for _ in $(seq 300); do
  jobs="$(submitted)$(running)"
  [ -z "$jobs" ] && exec snakemake --snakefile "$snakefile" --directory "$here" --unlock --quiet all
  sleep 1
done
echo "still there after five minutes:" $jobs >&2
exit 1
