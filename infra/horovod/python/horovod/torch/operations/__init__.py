"""Horovod's operations on PyTorch tensors; `horovod.torch.mpi_ops` has the public names."""
