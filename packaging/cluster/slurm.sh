#!/bin/bash
#SBATCH --job-name=tfrcnn
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --dependency=singleton
#SBATCH --open-mode=append
#
# Trains on two nodes of a Slurm cluster, with one task per node, which takes all GPUs of the job on its node:
#
#   sbatch packaging/cluster/slurm.sh [OPTION ...]
#
# Change the lines above and the options of tfrcnn train, to which the script adds its own. All nodes must reach the data and the run folder.
#
# A task that ends with an error ends the others. Submit the job again: the run is resumed. Slurm does so by itself if a
# node fails.
set -euo pipefail

run=runs/cells
resume=()
# Of the jobs of this name one runs at a time. So a lock is what a job left that Slurm ended, perhaps on another node.
rm -f "$run/.lock.tmp"
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # srun does not take it from sbatch
if [ -e "$run/training.json" ]; then
  resume=(--resume)
fi
srun --kill-on-bad-exit=1 tfrcnn train --train data/VOC@train --val data/VOC@val --out "$run" \
  --image-size 640 --batch-size 16 --strategy multi-worker "${resume[@]}" "$@"
