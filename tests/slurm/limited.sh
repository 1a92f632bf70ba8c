#!/bin/bash
# limited.sh DIR JOBS COMMAND...: the command on a Slurm of its own, which lets root have so many jobs submitted.
# Such limits need an accounting database: Debian's slurmdbd and mariadb-server. All is in its own mount and process
# namespace, on ports of its own, so that another Slurm on this machine goes on, and ends with the command.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
if [ "${SLURM_APART:-}" != yes ]; then
  export SLURM_APART=yes SLURMCTLD_PORT=17117 SLURMD_PORT=17120
  exec unshare --mount --pid --fork --mount-proc --kill-child "$here/limited.sh" "$@"
fi
dir=$(realpath -m "$1") jobs=$2
shift 2
unset SLURM_APART
mount -t tmpfs none /etc/slurm

mkdir -p "$dir"/{log,run,munge,mysql}
(umask 077 && head -c 1024 /dev/urandom >"$dir/munge/key")
munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/run/munged.pid" \
  --log-file="$dir/log/munged.log" --seed-file="$dir/munge/seed"

sql=$dir/mysql/socket
mariadb-install-db --no-defaults --user=root --datadir="$dir/mysql" --auth-root-authentication-method=normal \
  --skip-test-db >"$dir/log/mysql.log" 2>&1
mariadbd --no-defaults --user=root --datadir="$dir/mysql" --socket="$sql" --skip-networking --innodb-buffer-pool-size=64M \
  --innodb-lock-wait-timeout=900 >>"$dir/log/mysql.log" 2>&1 &
until mariadb-admin --no-defaults --user=root --socket="$sql" ping >/dev/null 2>&1; do sleep 0.2; done
mariadb --no-defaults --user=root --socket="$sql" --execute "create database slurm_acct_db"

(umask 077 && cat >/etc/slurm/slurmdbd.conf) <<CONF
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
DbdHost=localhost
DbdPort=17119
SlurmUser=root
LogFile=$dir/log/slurmdbd.log
PidFile=$dir/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
CONF
MYSQL_UNIX_PORT=$sql slurmdbd
until (exec 3<>/dev/tcp/127.0.0.1/17119) 2>/dev/null; do sleep 0.2; done

export SLURM_ACCOUNTING=slurmdbd SLURM_MORE="AccountingStorageHost=localhost
AccountingStoragePort=17119
AccountingStoragePass=$dir/munge/socket
AccountingStorageEnforce=limits"
"$here/slurm-up.sh" "$dir"
sacctmgr --immediate modify user root set MaxSubmitJobs="$jobs" >/dev/null
"$@"
