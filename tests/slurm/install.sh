#!/usr/bin/env bash
# Install what up.sh needs of Debian's packages, as root; nothing if it is there. Their daemons are not started.
#   usage: install.sh [--check]      --check only prints the packages that are missing, exit code 1 if any
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin DEBIAN_FRONTEND=noninteractive

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need munged munge; need slurmctld slurmctld; need slurmd slurmd; need sbatch slurm-client
need slurmdbd slurmdbd; need mariadbd mariadb-server-core; need mariadb mariadb-client-core
((${#missing[@]})) || exit 0
[ "${1:-}" != --check ] || { echo "${missing[*]}"; exit 1; }
((EUID == 0)) || { echo "install.sh: not root, and these are missing: ${missing[*]}" >&2; exit 1; }

# The packages' scripts would start daemons on the whole machine, but for this policy (one already there is kept).
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy
  trap 'rm -f $policy' EXIT
fi
install() { apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; }
install 2>/dev/null || { apt-get update -qq >/dev/null && install; }
