#!/bin/bash
# A scan over the nodes of a Slurm job: a Ray node on each of them, and the command on the first.
#
#   sbatch --nodes=8 deploy/slurm.sh scan s3://my-bucket/laion -o s3://my-bucket/runs/laion --model /shared/ViT-L-14 --device cuda
#
# What follows the script's name is given to `clipsieve`, with `--engine ray` and the cluster's address after it. What stands
# below is for nodes of 8 GPUs and 64 cores; options of sbatch outdo it. Activate the environment that holds clipsieve before:
# the job inherits it, and credentials in variables or in the home folder with it. None belongs on the command line, which all
# users of the machines can see.
#
# Variables: CLIPSIEVE_JOIN_SECONDS    what nodes are given to join [300]
#            CLIPSIEVE_HEAD_ADDRESS    of the first node, where its name does not lead to the right network
#            CLIPSIEVE_HEAD_PORT       [20000 and the last four digits of the job's number]
#            CLIPSIEVE_RAY_OPTIONS     more for `ray start`, on every node: --object-store-memory=100000000000
#
#SBATCH --job-name=clipsieve
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --gpus-per-node=8
#SBATCH --mem=0
#SBATCH --exclusive
#SBATCH --time=24:00:00
# A node that fails takes the images with it that were under way there, and not the job; if it is the first node, or if the job
# must make room for another, it waits for its turn again and goes on where it stopped.
#SBATCH --no-kill
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --output=clipsieve-%j.log
#SBATCH --open-mode=append
# shellcheck disable=SC2329 # functions that the trap alone calls
set -euo pipefail

nodes=()   # their names, the head's first
logs=()    # of the Ray node on each
rays=()    # the steps that run them
scan=()    # the step that runs clipsieve
temp=      # where Ray keeps its files, on each node

# Every step stands beside others on its node, and has the environment of this script, whatever sbatch was told of it.
step=(srun --overlap --export=ALL --nodes=1 --ntasks=1)

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

fail() {
    printf 'error: %s\n' "$1" >&2
    [ -z "${2:-}" ] || printf '\nhint: %s\n' "$2" >&2
    exit 1
}

# Whether a step goes on. Its number alone would not tell: another process may have it by now.
is_running() {
    local running
    running=" $(jobs -pr | tr '\n' ' ')"
    [[ $running == *" $1 "* ]]
}

signal_running() {
    local signal=$1 each
    shift
    for each in "$@"; do
        ! is_running "$each" || kill "-$signal" "$each" || true
    done
}

# End steps. What has not ended in ten seconds is killed.
end() {
    local each left=100
    signal_running TERM "$@"
    for each in "$@"; do
        while [ "$left" -gt 0 ] && is_running "$each"; do
            sleep 0.1
            left=$((left - 1))
        done
    done
    signal_running KILL "$@"
}

# Whatever the reason for ending is: the scan ends first, then all Ray nodes.
end_all() {
    local status=$?
    trap - EXIT
    trap '' TERM INT
    end ${scan[@]+"${scan[@]}"}
    end ${rays[@]+"${rays[@]}"}
    if [ -n "$temp" ] && [ "$status" -eq 0 ]; then
        timeout 60 srun --overlap --ntasks-per-node=1 rm -rf -- "$temp" || true
    elif [ "${#rays[@]}" -gt 0 ]; then
        say "Ray's own logs are left in $temp on each node"
    fi
    exit "$status"
}

# The first address of a node that is not its own loopback.
address_of() {
    "${step[@]}" --nodelist="$1" hostname --ip-address | tr ' ' '\n' | grep -E '^[0-9.]+$' | grep -v -m1 '^127\.'
}

# Begin a Ray node: begin_ray PLACE OPTION..., where PLACE counts the nodes from 0.
begin_ray() {
    local place=$1
    shift
    "${step[@]}" --nodelist="${nodes[place]}" --output="${logs[place]}" --open-mode=append ray start "$@" "${options[@]}" &
    rays+=("$!")
}

# How many nodes are in the cluster. A node at rest is an idle one or an active one, as the version of Ray has it.
n_joined() {
    { "${step[@]}" --nodelist="${nodes[0]}" timeout 30 ray status --address="$address" 2>/dev/null || true; } |
        awk '/^[A-Z]/ { counts = ($1 == "Active:" || $1 == "Idle:") } counts && $1 ~ /^[0-9]+$/ { n += $1 } END { print n + 0 }'
}

# Wait until so many nodes are in the cluster: not for ever, and not for one that has ended.
wait_for() {
    local joined place
    while joined=$(n_joined) && [ "$joined" -lt "$1" ]; do
        for place in "${!rays[@]}"; do
            is_running "${rays[place]}" || fail "the Ray node on ${nodes[place]} ended by itself" "its log is ${logs[place]}"
        done
        [ "$SECONDS" -lt "$deadline" ] || fail "$joined of ${#nodes[@]} nodes have joined in $patience s" \
            "the logs are ${logs[*]}; CLIPSIEVE_JOIN_SECONDS gives them longer, CLIPSIEVE_HEAD_ADDRESS names another network"
        sleep 1
    done
}

[ -n "${SLURM_JOB_ID:-}" ] || fail "this is not a job of Slurm" "sbatch --nodes=4 $0 scan SOURCE -o RUN --model MODEL"
[ $# -gt 0 ] || fail "no command for clipsieve" "sbatch --nodes=4 slurm.sh scan SOURCE -o RUN --model MODEL"
[ "${SLURM_RESTART_COUNT:-0}" -eq 0 ] || say "start ${SLURM_RESTART_COUNT} after the first: what was finished is kept"

trap end_all EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
[ "${#nodes[@]}" -gt 0 ] || fail "Slurm names no node for the job"
for node in "${nodes[@]}"; do
    logs+=("clipsieve-$SLURM_JOB_ID-$node.log")
done
host=${CLIPSIEVE_HEAD_ADDRESS:-$(address_of "${nodes[0]}")} ||
    fail "no address of ${nodes[0]} is known to the others" "name it with CLIPSIEVE_HEAD_ADDRESS"
port=${CLIPSIEVE_HEAD_PORT:-$((20000 + SLURM_JOB_ID % 10000))}
address=$host:$port
patience=${CLIPSIEVE_JOIN_SECONDS:-300}
deadline=$((SECONDS + patience))
temp=/tmp/ray-$SLURM_JOB_ID # not below TMPDIR: Ray makes sockets there, whose names must be short

# Since Slurm 22.05 a step no longer inherits the number of cores.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
gpus=${SLURM_GPUS_ON_NODE:-${SLURM_GPUS_PER_NODE:-0}}
# Ray runs what it is sent: this keeps other users of the machines out. It goes to the steps in their environment, which nobody
# else can read, and not as an argument, which all can.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0
options=(--num-cpus="$SRUN_CPUS_PER_TASK" --num-gpus="${gpus##*:}" --temp-dir="$temp" --block)
read -r -a more <<<"${CLIPSIEVE_RAY_OPTIONS:-}"
options+=(${more[@]+"${more[@]}"})

say "a Ray node on each of ${#nodes[@]}: ${nodes[*]}"
begin_ray 0 --head --node-ip-address="$host" --port="$port" --include-dashboard=false
wait_for 1
# A step for each, so that one that is lost takes no other with it.
for ((place = 1; place < ${#nodes[@]}; place++)); do
    begin_ray "$place" --address="$address"
done
wait_for "${#nodes[@]}"

say "all have joined: clipsieve $*"
# In the background: bash looks at a signal only between commands, but at once while it waits.
"${step[@]}" --nodelist="${nodes[0]}" clipsieve "$@" --engine ray --ray-address "$address" &
scan=("$!")
status=0
wait "${scan[0]}" || status=$?
say "clipsieve ended with $status"
exit "$status"
