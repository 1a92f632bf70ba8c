#!/bin/bash
# powerloss.sh DIR NODE: NODE loses its power. SIGKILL, by pid, to its slurmd, its job steps and all their descendants.
# Killing slurmd alone is no power loss: what it started lives on, and so do the children of a killed job step.
set -uo pipefail
dir=$(realpath "$1") node=$2

tree() {
  echo "$1"
  for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do tree "$child"; done
}

pids=$(cat "$dir/run/slurmd.$node.pid")
for job in $(squeue -h -w "$node" -t running,completing -o %A); do
  for step in $(pgrep -f "^slurmstepd: \[$job\."); do
    pids+=" $(tree "$step" | tr '\n' ' ')"
  done
done
kill -STOP $pids 2>/dev/null # nobody starts a child or cleans up while the others die
kill -KILL $pids 2>/dev/null
echo "$pids"
