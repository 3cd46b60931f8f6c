#!/usr/bin/env bash
# Train on a Slurm cluster, one process a GPU:
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG [further arguments of tools/train.py]
# GPUS is the number of all GPUs (8 if not set), GPUS_PER_NODE those of one machine (8), CPUS_PER_TASK the cores of one
# process (8); SRUN_ARGS are further arguments of srun, such as "--time=24:00:00 --account=me".
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [further arguments of tools/train.py]" >&2
    exit 2
fi
partition=$1
job_name=$2
config=$3
shift 3

gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-8}
if [ "$gpus" -lt "$gpus_per_node" ]; then
    gpus_per_node=$gpus
fi

# shellcheck disable=SC2086  # SRUN_ARGS is a list of words
exec srun \
    --partition="$partition" \
    --job-name="$job_name" \
    --ntasks="$gpus" \
    --ntasks-per-node="$gpus_per_node" \
    --gres="gpu:$gpus_per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-8}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/train.py" "$config" --launcher slurm "$@"
