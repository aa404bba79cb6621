"""A rank that takes steps with an allreduce in each, and misbehaves when it is asked to.

Arguments: FAULT RANK STEP SAVE_FILE. Steps go on until a fault or a stop ends them.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from hvdcore.launch.supervisor.supervise import run_as_rank
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.signals import StopFlag


def misbehave(fault: str) -> None:
    """Do what the fault says, on this rank."""
    if fault == "exception":
        raise ValueError("this batch is broken")
    if fault == "hang":
        time.sleep(10_000)
    if fault == "user-error":
        from hvdcore.errors import UserError

        raise UserError("--batch: broken; mend it")
    numbers = {"SIGKILL": signal.SIGKILL, "SIGSTOP": signal.SIGSTOP, "SIGTERM": signal.SIGTERM}
    if fault in numbers:
        os.kill(os.getpid(), numbers[fault])
    if fault == "kill-supervisor":
        os.kill(os.getppid(), signal.SIGKILL)
    if fault == "stop-supervisor":
        os.kill(os.getppid(), signal.SIGSTOP)


def main() -> int:
    """Step until asked to stop; then rank 0 writes the save file."""
    fault, faulty_rank, faulty_step, save_file = sys.argv[1:5]
    import horovod.numpy as hvd
    import numpy as np

    beat("communicate")
    hvd.init()
    step = 0
    with StopFlag() as flag:
        while True:
            beat("compute", step)
            if hvd.rank() == int(faulty_rank) and step == int(faulty_step):
                misbehave(fault)
            if hvd.rank() == 0 and step == 3:
                print("step 3 reached", flush=True)
            time.sleep(0.05)
            beat("communicate", step)
            stop = hvd.allreduce(np.array([float(flag.requested)]), op=hvd.Sum, name="stop")
            beat("compute", step)
            step += 1
            if stop[0] > 0:
                break
        if hvd.rank() == 0:
            beat("checkpoint")
            time.sleep(2)  # longer than mpirun lets a rank live after another has failed
            Path(save_file).write_text(f"saved at step {step}", encoding="utf-8")
        beat("communicate")
        hvd.barrier()
        hvd.shutdown()
        return flag.exit_code


if __name__ == "__main__":
    sys.exit(run_as_rank(main))
