"""Checks of horovod.torch's ElasticSampler on real ranks."""

from __future__ import annotations

import horovod.torch as hvd


def start() -> int:
    """Starts Horovod; the rank."""
    hvd.init()
    return hvd.rank()


def of_all_ranks(sampler) -> list[list[int]]:
    return hvd.allgather_object(list(sampler))


def check_each_sample_once_in_an_epoch_with_a_break() -> None:
    sampler = hvd.elastic.ElasticSampler(range(8 * hvd.size()))
    before = of_all_ranks(sampler)
    sampler.record_batch(0, 3)
    sampler.load_state_dict(sampler.state_dict())  # what a reset does
    after = of_all_ranks(sampler)
    seen = [i for rank in before for i in rank[:3]] + [i for rank in after for i in rank]
    assert sorted(seen) == list(range(8 * hvd.size()))


def check_fewer_samples_than_ranks() -> None:
    """Upstream fails where fewer samples are left than half of the ranks."""
    for left in range(1, hvd.size() + 1):
        sampler = hvd.elastic.ElasticSampler(range(hvd.size() + left))
        sampler.record_batch(0, 1)
        sampler.reset()
        shares = of_all_ranks(sampler)
        assert {len(share) for share in shares} == {1}
        assert len({i for share in shares for i in share}) == left


def check_an_epoch_that_is_over_is_empty() -> None:
    sampler = hvd.elastic.ElasticSampler(range(hvd.size() + 1))
    sampler.record_batch(0, 2)  # one sample was given to all ranks but one a second time
    sampler.reset()
    assert list(sampler) == []
    assert len(sampler) == 0
    sampler.set_epoch(1)
    assert len(sampler) == 2
