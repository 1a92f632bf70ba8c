#!/bin/bash
# powerloss.sh DIR NODE: NODE loses its power. SIGKILL, by pid, to its slurmd, its job steps and all their descendants.
# powerloss.sh DIR NODE freeze: what its jobs run stands still (SIGSTOP). Slurm's own processes do not, so they can end it.
# Killing slurmd alone is no power loss: what it started lives on, and so do the children of a killed job step.
set -uo pipefail
dir=$(realpath "$1") node=$2 how=${3:-kill}

below() {
  for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
    echo "$child"
    below "$child"
  done
}

pids=
for job in $(squeue -h -w "$node" -t running,completing -o %A); do
  for step in $(pgrep -f "^slurmstepd: \[$job\."); do
    pids+=" $(below "$step" | tr '\n' ' ')"
    [ "$how" = freeze ] || pids+=" $step"
  done
done
[ "$how" = freeze ] || pids+=" $(cat "$dir/run/slurmd.$node.pid")"
kill -STOP $pids 2>/dev/null # also before a kill: nobody starts a child or cleans up while the others die
[ "$how" = freeze ] || kill -KILL $pids 2>/dev/null
echo "$pids"
