"""Predictions by hand, published scaling out of published parameters, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvdcore.capacity.model import (
    Gradient,
    Network,
    Shards,
    Timing,
    Workload,
    fit_network,
    predict,
    workload_of_run,
)
from hvdcore.cli import app
from hvdcore.run.run_dir import RunDir

SLOW = Network(latency_seconds=0.001, bytes_per_second=1e6)


def test_a_ring_by_hand() -> None:
    """Four ranks: six messages of a quarter of a megabyte, a quarter of a second and 1 ms each."""
    assert SLOW.allreduce_seconds(1_000_000, 4) == pytest.approx(6 * 0.251)
    assert SLOW.allreduce_seconds(1_000_000, 1) == 0.0


def test_a_network_is_found_from_its_timings() -> None:
    sizes = (1000, 50_000, 2_000_000)
    timings = [Timing(size, SLOW.allreduce_seconds(size, 3)) for size in sizes]
    found = fit_network(timings, 3)
    assert found.latency_seconds == pytest.approx(0.001)
    assert found.bytes_per_second == pytest.approx(1e6)
    for wrong in (Timing(10_000, 0.0005), Timing(10_000, 3.0)):
        found = fit_network(
            [*timings, Timing(200_000, SLOW.allreduce_seconds(200_000, 3)), wrong], 3
        )
        assert found.latency_seconds == pytest.approx(0.001)
        assert found.bytes_per_second == pytest.approx(1e6)
    with pytest.raises(ValueError, match="two ranks or more"):
        fit_network(timings, 1)
    with pytest.raises(ValueError, match="two sizes or more"):
        fit_network(timings[:1], 2)


def test_a_ring_that_gathers_by_hand() -> None:
    """Four ranks: three messages of a rank's share; none is smaller than the largest tensor."""
    assert SLOW.allgather_seconds(1_000_000, 4) == pytest.approx(3 * 0.251)
    assert SLOW.allgather_seconds(1_000_000, 4, largest=500_000) == pytest.approx(3 * 0.501)
    assert SLOW.allgather_seconds(1_000_000, 2) == pytest.approx(0.501)
    assert SLOW.allgather_seconds(1_000_000, 1) == 0.0


def test_what_is_ready_early_is_hidden() -> None:
    """Two sums of 1 s each (two messages of half a MB, and no latency) beside 3 s of computing."""
    network = Network(0.0, 1e6)
    early = Workload(1, 3.0, 0.5, (Gradient(1e6, 1.0), Gradient(1e6, 2.0)))
    late = Workload(1, 3.0, 0.5, (Gradient(1e6, 2.5), Gradient(1e6, 3.0)))
    assert early.step_seconds(2, network) == pytest.approx(3.5)
    assert late.step_seconds(2, network) == pytest.approx(5.0)
    assert late.step_seconds(1, network) == pytest.approx(3.5)


def test_buckets_travel_beside_both_passes() -> None:
    """Two buckets of 1 MB: each takes two ranks half a second in either direction.

    3 s of computing: both are here before half of the forward pass's second is over twice, at 0.5
    and 1.0, so it ends at 1.5; half of the backward pass later, at 2.5, a bucket leaves, and the
    last at 3.5, which ends at 4.0. With 0.3 s of computing the wire sets the pace: 1.05 until the
    forward pass's end, 1.15 until the first gradients, and a second for both.
    """
    network = Network(0.0, 1e6)
    shards = Shards(2e6, 1e6)
    assert Workload(1, 3.0, 0.2, shards=shards).step_seconds(2, network) == pytest.approx(4.1)
    assert Workload(1, 0.3, 0.2, shards=shards).step_seconds(2, network) == pytest.approx(2.25)
    assert Workload(1, 3.0, 0.2, shards=shards).step_seconds(1, network) == pytest.approx(3.2)


def test_more_ranks_have_fewer_and_larger_buckets() -> None:
    """Four ranks' shares of 500 kB make buckets of 2 MB; so does a tensor of 1 MB with one owner,
    and 16 ranks have to send all in one."""
    assert [Shards(8e6, 1e6, 5e5).num_buckets(size) for size in (1, 2, 4)] == [8, 8, 4]
    assert [Shards(8e6, 1e6, 0.0, 1e6).num_buckets(size) for size in (2, 4, 16)] == [8, 4, 1]


def test_ranks_of_a_host_share_its_link() -> None:
    """A bucket of 2 MB each way over 1 MB a second, 3 s of computing, the latency 0.1 s.

    Two hosts of one rank: a message of 1 MB, 1.1 s, before the forward pass and as many after the
    backward pass; the norm's two messages 0.2 s. Two hosts of two ranks: another 0.1 s within the
    host each way, and six messages for the norm. Were the four ranks on a host each, the link
    would carry 3/4 of it, in three messages: 1.8 s. Three ranks on a host of two and one of one
    send straight to the owners, two ranks over one link: 2 (0.2 + 4/3) s. One host has no link.
    """
    shards, network = Shards(2e6, 2e6), Network(0.1, 1e6)
    seconds = {
        (size, ranks): shards.step_seconds(3.0, 0.0, size, network, ranks)
        for size, ranks in ((2, 1), (4, 2), (4, 1), (3, 2), (4, 4))
    }
    assert seconds == {
        (2, 1): pytest.approx(3.0 + 2 * 1.1 + 0.2),
        (4, 2): pytest.approx(3.0 + 2 * 1.2 + 0.6),
        (4, 1): pytest.approx(3.0 + 2 * 1.8 + 0.6),
        (3, 2): pytest.approx(3.0 + 2 * 2 * (0.2 + 4 / 3) + 0.4),
        (4, 4): pytest.approx(3.0 + 2 * 0.1 + 0.6),
    }


def test_bytes_that_a_host_sends() -> None:
    """8 MB of gradients and as much of parameters. Two hosts of any number of ranks: half of each.
    Eight ranks on hosts of one: 7/8 of each. Three ranks, two of them on one host: each of the two
    sends 1/3 of its gradients, and 2/3 of the parameters go round."""
    workload = Workload(1, 1.0, shards=Shards(8e6, 1e6))
    places = ((4, 2), (16, 8), (8, 1), (3, 2), (8, 8), (1, 1))
    assert [workload.link_bytes(*place) / 1e6 for place in places] == [
        pytest.approx(megabytes) for megabytes in (8.0, 8.0, 14.0, 8 * 4 / 3, 0.0, 0.0)
    ]
    (four,) = predict(workload, Network(0.0, 1e6), [4], ranks_per_host=2)
    assert four.link_bytes == pytest.approx(8e6)
    sums = Workload(1, 1.0, 0.0, (Gradient(1e6, 1.0),))
    assert [sums.link_bytes(4, ranks) for ranks in (1, 2, 4)] == [1.5e6, 1.5e6, 0.0]


def test_throughput_efficiency_and_cost() -> None:
    """Two ranks: 1 s of computing and 1 s of summing, so half of what two alone would do."""
    workload = Workload(10, 1.0, 0.0, (Gradient(1e6, 1.0),))
    one, two = predict(
        workload, Network(0.0, 1e6), [1, 2], price_per_host_hour=3.6, ranks_per_host=2
    )
    assert (one.per_second, one.efficiency) == (10.0, 1.0)
    assert (two.per_second, two.efficiency) == (pytest.approx(10.0), pytest.approx(0.5))
    # A host costs 0.001 a second, and a million samples take 100,000 of them.
    assert two.cost_per_million == pytest.approx(100.0)


PARAMETERS_PER_CHUNK = 64 * 2**20 / 4
"""Of Horovod's fusion buffer."""


def layers(step_seconds: float, parameters: list[float]) -> Workload:
    """A convolutional network at 64 images per GPU, its gradients in chunks of Horovod's buffer.

    Two thirds of a step are the backward pass, which begins with the last layer. Convolutions take
    all of its time; fully connected layers have the parameters and no time to speak of.

    Args:
        parameters: of the fully connected layers, and of the convolutions.
    """
    connected, convolved = parameters
    begin = step_seconds / 3
    gradients = []
    for count, share in ((connected, 0.0), (convolved, 1.0)):
        chunks = max(1, round(count / PARAMETERS_PER_CHUNK))
        for chunk in range(chunks):
            ready = begin + share * (step_seconds - begin) * (chunk + 1) / chunks
            gradients.append(Gradient(4 * count / chunks, ready))
    return Workload(64, step_seconds, 0.0, gradients)


@pytest.mark.parametrize(
    ("name", "images_per_second", "parameters", "published"),
    [
        # Parameters: the architectures' papers. Images per second of a P100 at 64: TensorFlow's
        # published benchmarks for VGG-16; for ResNet-101 by its operations between -50 and -152.
        ("VGG-16", 154.0, [123.6e6, 14.7e6], 0.68),
        ("ResNet-101", 133.0, [2.0e6, 42.5e6], 0.90),
    ],
)
def test_published_scaling_at_512_gpus(
    name: str, images_per_second: float, parameters: list[float], published: float
) -> None:
    """Sergeev & Del Balso 2018: 128 servers of four GPUs on 25 Gbit/s.

    Not published, and taken as usual: nine tenths of a link are payload, and a message takes 10 us
    in the mean, for one of four crosses the network. Control: without cost both would be 1.
    """
    workload = layers(64 / images_per_second, parameters)
    network = Network(10e-6, 0.9 * 25e9 / 8)
    (found,) = predict(workload, network, [512])
    assert found.efficiency == pytest.approx(published, abs=0.02), name
    (free,) = predict(workload, Network(0.0, 1e15), [512])
    assert free.efficiency == pytest.approx(1.0, abs=1e-3)


def write_report(path: Path, **sent: float) -> None:
    (path / "report.json").write_text(json.dumps({"size": 2, "communication": sent}))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """As a run leaves it: 100 ms a step on two ranks, 20 of them summing, 10 updating."""
    path = tmp_path / "run"
    path.mkdir()
    write_report(path, allreduce_bytes=1_000_000)
    (path / "config.json").write_text("{}")
    point = {
        "step": 1, "epoch": 0, "split": "train", "tokens_per_second": 20_000.0,
        "data_seconds": 0.01, "compute_seconds": 0.06, "update_seconds": 0.01,
        "communicate_seconds": 0.02,
    }  # fmt: skip
    (path / "metrics.jsonl").write_text(f"{json.dumps(point)}\n" * 20)
    return path


def plan(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["plan", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_the_command_tells_what_a_run_would_do(run: Path) -> None:
    """1 MB of gradients over 1 MB/s: two ranks sum for 1 s, besides 80 ms of the rest."""
    network = ("--latency-us", "0", "--bandwidth-gbit", "0.008")
    code, out, _ = plan(str(run), "--np", "1,2", *network, "--json")
    assert code == 0
    one, two = json.loads(out)
    assert one["step_seconds"] == pytest.approx(0.08)
    assert two["step_seconds"] == pytest.approx(1.08)
    assert one["per_second"] == pytest.approx(1000 / 0.08)  # 2,000 tokens a step on two ranks
    code, out, _ = plan(str(run), "--np", "8", *network, "--price-per-host-hour", "2")
    assert code == 0
    assert "1,000 tokens a step, 80.0 ms of compute time, 1.0 MB of gradients" in out
    assert "cost of a million tokens" in out
    assert "4,372" in out  # tokens a second: 8,000 in 80 ms and 1.75 s
    code, out, _ = plan(str(run), "--np", "8", "--latency-us", "0", "--bandwidth-gbit", "1e-5")
    assert "5.71" in out  # in 1,400 s


def test_ranks_that_share_the_update_gather_the_parameters(run: Path) -> None:
    """1 MB of gradients and of parameters over 1 MB/s, 70 ms of compute time, and 10 ms of updating
    half of the parameters: alone 20 ms, of four ranks 5 ms each."""
    write_report(run, allreduce_bytes=10**6, allgather_bytes=10**6, largest_tensor_bytes=300_000)
    network = ("--latency-us", "0", "--bandwidth-gbit", "0.008")
    code, out, _ = plan(str(run), "--np", "1,2,4", *network, "--json")
    assert code == 0
    seconds = [found["step_seconds"] for found in json.loads(out)]
    assert seconds == pytest.approx([0.09, 0.08 + 1.0 + 0.5, 0.075 + 1.5 + 0.9])
    code, out, _ = plan(str(run), "--np", "2", *network)
    assert "1.0 MB of gradients and 1.0 MB of parameters" in out


@pytest.mark.parametrize(
    ("told", "megabytes"),
    [({}, 1.0), ({"hierarchical": True}, 1.0), ({"hierarchical": False}, 1.75)],
)
def test_hosts_add_up_gradients_where_the_run_did(
    run: Path, told: dict[str, bool], megabytes: float
) -> None:
    """Two hosts of two ranks, 1 MB. A host that adds up sends the sums of the half that it does not
    own, and its half of the parameters: 1 MB. Otherwise each of its ranks sends its gradients of
    the other half, 1 MB together, and of the parameters three quarters pass each link of the ring.
    """
    sizes = dict.fromkeys(("reduce_scatter_bytes", "allgather_bytes", "bucket_bytes"), 10**6)
    write_report(run, **sizes, part_bytes=0, largest_tensor_bytes=0, **told)
    network = ("--latency-us", "0", "--bandwidth-gbit", "0.008", "--ranks-per-host", "2")
    code, out, _ = plan(str(run), "--np", "4", *network, "--json")
    assert code == 0
    found = json.loads(out)[0]
    assert found["link_bytes"] == pytest.approx(megabytes * 1e6)
    # A bucket to its owners and its parameters back over 1 MB/s: half of it between two hosts, or
    # three quarters of it for each of two ranks that share the link.
    sent = 2 * (0.5 if megabytes == 1.0 else 2 * 0.75)
    assert found["step_seconds"] == pytest.approx(sent + 0.07 + 0.02 / 4)


def test_buckets_are_summed_beside_the_backward_pass(run: Path) -> None:
    """Two buckets of 0.5 MB over 1 MB/s: the first is there after a third of 70 ms, the forward
    pass, and half of the backward pass. The control, one bucket, waits for all of it."""
    network = ("--latency-us", "0", "--bandwidth-gbit", "0.008")
    for bucket_bytes, begin in ((500_000, 0.07 * (1 / 3 + 1 / 3)), (1_000_000, 0.07)):
        write_report(run, allreduce_bytes=10**6, bucket_bytes=bucket_bytes)
        code, out, _ = plan(str(run), "--np", "2", *network, "--json")
        assert code == 0
        assert json.loads(out)[0]["step_seconds"] == pytest.approx(begin + 1.0 + 0.01)


def test_samples_of_a_step_are_those_of_any_point(run: Path) -> None:
    """2,000 tokens of two ranks, in steps of 0.4 s, 0.4 s and 0.2 s; the medians of the two kinds
    are 0.1 s each."""
    kinds = [(0.4, 0.0), (0.0, 0.4), (0.1, 0.1)]
    points = [
        {"split": "train", "tokens_per_second": 2000 / (computing + waiting),
         "compute_seconds": computing, "communicate_seconds": waiting}
        for computing, waiting in kinds
    ]  # fmt: skip
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(point)}\n" for point in points))
    assert workload_of_run(RunDir.open(run)).samples == pytest.approx(1000.0)


def test_a_run_that_does_not_tell_what_its_ranks_send(run: Path) -> None:
    (run / "report.json").write_text('{"size": 2}')
    code, _, err = plan(str(run), "--np", "2", "--latency-us", "1", "--bandwidth-gbit", "1")
    assert code == 2
    assert "report.json: no 'communication'; train again with this version" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--np", "two", "--latency-us", "1", "--bandwidth-gbit", "1"), "--np: got 'two'"),
        (("--np", "2"), "--latency-us: not given"),
        (("--np", "2", "--latency-us", "-1", "--bandwidth-gbit", "1"), "latency: got -1e-06 s"),
        (("--np", "2", "--latency-us", "1", "--bandwidth-gbit", "0"), "bandwidth: got 0 bytes/s"),
        (("--np", "2", "--network", "nowhere.json"), "nowhere.json"),
        (("--np", "2", "--network", "x", "--latency-us", "1"), "--network: give the file, or"),
    ],
)
def test_wrong_input_is_reported(run: Path, arguments: tuple[str, ...], message: str) -> None:
    code, _, err = plan(str(run), *arguments)
    assert code == 2
    assert message in err


@pytest.mark.ranks
def test_a_network_is_measured_by_real_ranks(tmp_path: Path, run: Path) -> None:
    output = tmp_path / "network.json"
    done = CliRunner().invoke(app, ["network", "--np", "2", "--output", str(output)])
    assert done.exit_code == 0, done.output
    measured = json.loads(output.read_text())
    assert measured["size"] == 2
    assert [size for size, _ in measured["timings"]] == [4096 * 8**power for power in range(5)]
    assert measured["bytes_per_second"] > 0
    code, _, _ = plan(str(run), "--np", "2,4", "--network", str(output))
    assert code == 0
    alone = CliRunner().invoke(app, ["network", "--output", str(output)])
    assert alone.exit_code == 2
