#!/bin/bash
# slurm-down.sh DIR: cancels all jobs and ends the daemons that slurm-up.sh DIR started, by their pids.
set -uo pipefail
dir=$(realpath -m "$1")
unset SLURM_CONF

# Not kill -0: daemons may stay zombies where pid 1 reaps nobody.
alive() {
  case $(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) in '' | Z | X) return 1 ;; esac
}

if grep -qsF "$dir/" /etc/slurm/slurm.conf; then
  # Also a job on a dead node, which would keep "completing": the wait is bounded.
  timeout 10 scancel --user root 2>/dev/null
  for _ in $(seq 25); do
    [ -z "$(timeout 5 squeue -h 2>/dev/null)" ] && break
    sleep 0.2
  done
fi
# slurmd first: without a controller it takes 10 s to end.
for file in "$dir"/run/slurmd.*.pid "$dir/run/slurmctld.pid" "$dir/run/munged.pid"; do
  [ -s "$file" ] || continue
  pid=$(cat "$file")
  # A pid of a daemon that died long ago may be another process's by now.
  case $(cat "/proc/$pid/comm" 2>/dev/null) in slurmd | slurmctld | munged) ;; *) continue ;; esac
  kill "$pid" 2>/dev/null
  for _ in $(seq 100); do
    alive "$pid" || break
    sleep 0.1
  done
  alive "$pid" && kill -KILL "$pid"
done
# Left there, every later snakemake on this machine would wait 9 s for the controller.
grep -qsF "$dir/" /etc/slurm/slurm.conf && rm -f /etc/slurm/slurm.conf /etc/slurm/gres.conf
exit 0
