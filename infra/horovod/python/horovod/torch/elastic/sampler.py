"""A sampler that shares out a data set anew when ranks come and go in the middle of an epoch."""

from __future__ import annotations

import random

import torch.utils.data
from horovod.torch.mpi_ops import rank, size


class ElasticSampler(torch.utils.data.Sampler):
    """Shares out a data set's indices over the ranks, and the rest of them anew after a reset.

    Put it into `TorchState`, call `record_batch` after each batch and `set_epoch` at the end of
    each epoch. Until then samples that were recorded are not given again, whatever the number of
    ranks.

    All ranks get equally many samples: where the rest is no multiple of the ranks, samples of the
    rest are given a second time.

    Args:
        dataset: anything with a length, which must not change.
        shuffle: whether to shuffle, anew in each epoch.
        seed: for shuffling; the same on all ranks.
    """

    def __init__(self, dataset, shuffle=True, seed=0):
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self.processed_num = 0
        self.reset()

    def set_epoch(self, epoch):
        """Starts an epoch with all samples; call it at the end of the one before."""
        self.epoch = epoch
        self.processed_num = 0
        self.reset()

    def record_batch(self, batch_idx, batch_size):
        """Counts the samples of a batch, of `batch_size` on each rank, as done."""
        self.processed_num = min(
            self.processed_num + batch_size * self.num_replicas, len(self.dataset)
        )

    def load_state_dict(self, state_dict):
        """Goes on where `state_dict` was taken, with the ranks of now."""
        self.epoch = state_dict["epoch"]
        self.processed_num = state_dict["processed_num"]
        self.reset()

    def state_dict(self):
        """The epoch and how many of its samples are done."""
        return {"epoch": self.epoch, "processed_num": self.processed_num}

    def reset(self):
        """Shares out what is left of the epoch over the ranks of now."""
        self.num_replicas = size()
        self.rank = rank()
        indices = list(range(len(self.dataset)))
        if self.shuffle:
            random.Random(self.seed + self.epoch).shuffle(indices)
        self.remaining_indices = indices[self.processed_num :]
        self.num_samples = -(-len(self.remaining_indices) // self.num_replicas)
        self.total_size = self.num_samples * self.num_replicas

    def __iter__(self):
        left = self.remaining_indices
        # With fewer samples left than ranks each may be needed more than twice.
        repeated = left * (-(-self.total_size // max(1, len(left))))
        self.indices = repeated[self.rank : self.total_size : self.num_replicas]
        return iter(self.indices)

    def __len__(self):
        return self.num_samples
