"""Run by two ranks: horovod.torch on tensors that say that they are on a GPU of the stub.

PyTorch without CUDA has no tensors on GPUs. These are its own, in the host's memory, which answer
as a GPU's do where horovod.torch asks; all below horovod.torch is real. Prints `ok` and the version
of NCCL.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import horovod.torch as hvd
import torch
from gpu_rig import Gpu
from rank_checks import error_of

gpu: Gpu
recorded: list[tuple[int, int]] = []
"""What `record_stream` was told: address and stream."""
_empty = torch.empty
_kept: list[torch.Tensor] = []


class OnGpu(torch.Tensor):
    """A tensor of the stub's GPU."""

    is_cuda = True
    is_cpu = False

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", gpu.device)

    def record_stream(self, stream: SimpleNamespace) -> None:
        recorded.append((self.data_ptr(), stream.cuda_stream))


def empty(*size: object, device: object = None, **options: object) -> torch.Tensor:
    """torch.empty, for which GPUs are there."""
    made = _empty(*size, **options)
    _kept.append(made)
    return made.as_subclass(OnGpu) if device is not None else made


def late(values: list, dtype: torch.dtype = torch.float32) -> OnGpu:
    """A tensor whose values a slow kernel writes."""
    source = torch.tensor(values, dtype=dtype)
    target = torch.full_like(source, 99)
    _kept.extend((source, target))
    gpu.copy(target.data_ptr(), source.data_ptr(), source.nbytes)
    return target.as_subclass(OnGpu)


def read(tensor: torch.Tensor) -> list:
    """The values, as the next kernel on the current stream sees them."""
    assert tensor.is_cuda
    seen = torch.zeros(tensor.shape, dtype=tensor.dtype)
    _kept.append(seen)
    gpu.copy(seen.data_ptr(), tensor.data_ptr(), seen.nbytes, milliseconds=0)
    gpu.synchronize()
    return seen.tolist()


def values(rank: int) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        assert read(hvd.allreduce(late([1 + rank, 2], dtype), op=hvd.Sum)) == [3, 4]
    tensor = late([1.0 + rank, 2.0])
    assert hvd.allreduce_(tensor) is tensor
    assert read(tensor) == [1.5, 2.0]
    group = hvd.grouped_allreduce([late([rank]), late([1.0, 1.0])], op=hvd.Sum)
    assert [read(each) for each in group] == [[1], [2, 2]]
    assert read(hvd.allgather(late([rank] * (rank + 1)))) == [0, 1, 1]
    assert read(hvd.broadcast(late([rank, 7]), 1)) == [1, 7]
    assert read(hvd.broadcast_(late([rank, 7]), 0)) == [0, 7]
    rows, received = hvd.alltoall(late([10 * rank, 10 * rank + 1]), torch.tensor([1, 1]))
    assert read(rows) == [rank, 10 + rank]
    assert received.tolist() == [1, 1]
    assert read(hvd.reducescatter(late([1.0, 2.0 + rank]), op=hvd.Sum)) == [[2.0], [5.0]][rank]
    square = late([[1.0, 2.0], [3.0, 4.0 + rank]])
    assert read(hvd.allreduce(square, op=hvd.Sum)) == [[2, 4], [6, 9]]


def memory_is_kept_for_the_stream(rank: int) -> None:
    """An input may be freed only in the order of the stream on which the result was awaited."""
    tensor = late([1.0])
    handle = hvd.allreduce_async_(tensor, name="kept")
    del recorded[:]
    current = gpu.stream
    gpu.stream = Gpu(gpu.device).stream
    hvd.synchronize(handle)
    assert (tensor.data_ptr(), gpu.stream) in recorded
    assert gpu.calls()[-1].split()[0] == "wait"
    assert gpu.calls()[-1].endswith(f"stream{gpu.lib.stub_number(ctypes.c_void_p(gpu.stream))}")
    gpu.stream = current


def graphs_are_refused(rank: int) -> None:
    gpu.capture(True)
    error = error_of(ValueError, lambda: hvd.allreduce(late([1.0])))
    gpu.capture(False)
    assert "CUDA graph" in error


def main() -> None:
    global gpu
    hvd.init()
    gpu = Gpu(hvd.rank())
    torch.empty = empty
    torch.cuda.current_stream = lambda device: SimpleNamespace(cuda_stream=gpu.stream)
    for check in (values, memory_is_kept_for_the_stream, graphs_are_refused):
        check(hvd.rank())
        hvd.barrier()
    gpu.synchronize()
    hvd.shutdown()
    print(f"ok {hvd.nccl_built()}")


if __name__ == "__main__":
    main()
