#!/bin/bash
# slurm-up.sh DIR [NODES] [CPUS] [GPUS]: a Slurm cluster on this one machine, for tests.
# munged, slurmctld and NODES slurmd with CPUS cores and GPUS pretended GPUs each; their state, logs and pids are below DIR.
# Needs root and Debian's slurm-wlm and munge (22.05 lets several slurmd share a host). Ended by slurm-down.sh DIR.
set -euo pipefail
dir=$(realpath -m "$1") nodes=${2:-2} cpus=${3:-16} gpus=${4:-2}
host=$(hostname -s)
etc=/etc/slurm # no other place: the plugin hands SLURM_CONF to no job step
unset SLURM_CONF

if [ -e $etc/slurm.conf ]; then
  echo "$etc/slurm.conf is there: this machine has a Slurm of its own, or slurm-down.sh did not run" >&2
  exit 1
fi
mkdir -p "$dir"/{state,log,run,munge,gpu} $etc
[ -s "$dir/munge/key" ] || (umask 077 && head -c 1024 /dev/urandom >"$dir/munge/key")
# Slurm counts GPUs by their device files. Twins of /dev/null are enough for --gpus, limits and CUDA_VISIBLE_DEVICES.
for ((gpu = 0; gpu < gpus; gpu++)); do
  [ -c "$dir/gpu/gpu$gpu" ] || mknod -m 666 "$dir/gpu/gpu$gpu" c 1 3
done

# ReturnToService, SlurmdTimeout, KillWait, cred_expire: a lost node is noticed, and its job started again, in seconds
# instead of minutes. cred_expire is also how long a requeued job waits.
# MinJobAge: squeue tells the state of finished jobs for so long. No accounting database, so no sacct.
# config_overrides: nodes may claim more cores and memory than there are; memory is scheduled, never enforced.
cat >$etc/slurm.conf <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${SLURMCTLD_PORT:-16817}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge/socket,cred_expire=15
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/${SLURM_ACCOUNTING:-none}
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/log/jobcomp.txt
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
KillWait=2
MinJobAge=3600
SchedulerParameters=batch_sched_delay=0,sched_min_interval=50000
${SLURM_MORE:-}
CONF
for ((node = 1; node <= nodes; node++)); do
  echo "NodeName=n$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$((${SLURMD_PORT:-16820} + node))" \
    "CPUs=$cpus RealMemory=256000 Gres=gpu:$gpus State=UNKNOWN"
done >>$etc/slurm.conf
echo "PartitionName=main Nodes=n[1-$nodes] Default=YES MaxTime=INFINITE DefMemPerCPU=100 State=UP" >>$etc/slurm.conf
echo "NodeName=n[1-$nodes] Name=gpu File=$dir/gpu/gpu[0-$((gpus - 1))]" >$etc/gres.conf
rm -f $etc/cgroup.conf

# With an accounting database it is running already (limited.sh).
# --force: a socket below a test's private folder is for root alone, which is all there is here
[ -S "$dir/munge/socket" ] || munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/run/munged.pid" \
  --log-file="$dir/log/munged.log" --seed-file="$dir/munge/seed"
slurmctld
for ((node = 1; node <= nodes; node++)); do
  slurmd -N "n$node"
done

# By the clock, not by tries: a client waits 9 s for a controller that does not answer.
until=$((SECONDS + 30))
while [ $SECONDS -lt $until ]; do
  [ "$(timeout 2 sinfo -h -N -t idle -o %N 2>/dev/null | sort -u | wc -l)" = "$nodes" ] && exit 0
  sleep 0.2
done
echo "Slurm is not ready after 30 s" >&2
timeout 5 sinfo -N -l >&2 || true
tail -n 20 "$dir"/log/*.log >&2
exit 1
