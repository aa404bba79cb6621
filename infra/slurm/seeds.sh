#!/bin/bash
#SBATCH --job-name=textgen
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --time=1:00:00
#SBATCH --array=0-4
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120

# The trainer starts a rank for each task of the allocation, by srun, and stops them.
command -v textgen > /dev/null || {
    echo "error: textgen: not on PATH; activate its environment before sbatch" >&2
    exit 2
}
asked= queue_again=
stop() {
    asked=1
    kill -TERM "$trainer"
}
trap 'queue_again=1; stop' USR1  # the time limit is near
trap stop TERM  # preempted or cancelled: Slurm itself knows whether to queue the job again

textgen train \
    --data books \
    --output-dir runs/seeds/seed-"$SLURM_ARRAY_TASK_ID" \
    --seed "$SLURM_ARRAY_TASK_ID" \
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
