#!/bin/bash
#SBATCH --job-name=textgen
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --time=1-0
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --mem=64G

# Slurm starts a rank for each task, in a container; Slurm needs its PMIx plugin for it.
asked= queue_again=
stop() {
    asked=1
    scancel --signal=TERM "$SLURM_JOB_ID"
}
trap 'queue_again=1; stop' USR1  # the time limit is near
trap asked=1 TERM  # preempted or cancelled: Slurm itself knows whether to queue the job again

srun --mpi=pmix --kill-on-bad-exit=1 \
    apptainer exec --nv --bind "$PWD" --pwd "$PWD" textgen.sif \
    textgen train \
    --data books \
    --global-batch-size 64 \
    --output-dir runs/container \
    --resume auto &
trainer=$!
# A signal ends the waiting, not the trainer.
while :; do
    asked=
    wait "$trainer"
    code=$?
    [ "$asked" ] || break
done
# 143: saved and stopped. Requeued, the same command resumes from its newest checkpoint.
if [ "$code" = 143 ] && [ "$queue_again" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
