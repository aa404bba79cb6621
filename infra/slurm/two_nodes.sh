#!/bin/bash
#SBATCH --job-name=textgen
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=4
#SBATCH --time=4:00:00
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
    --global-batch-size 64 \
    --output-dir runs/books \
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
