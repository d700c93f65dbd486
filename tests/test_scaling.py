"""The arithmetic of reports/scaling.md, on cases with known answers."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torchvision.models import resnet18, resnet50

from benchmarks import scaling, scaling_measure
from benchmarks.scaling_model import (
    BUCKET,
    Link,
    count,
    efficiency,
    fit_link,
    most_devices,
    ring_bytes,
    ring_seconds,
    step_seconds,
)
from shared.environment import ROOT

FAST, SLOW = Link(bandwidth=1e9, latency=0.0), Link(bandwidth=1e6, latency=0.5)


@pytest.mark.parametrize(
    ("make", "parameters", "multiplications"),
    [(resnet18, 11_689_512, 1.814e9), (resnet50, 25_557_032, 4.089e9)],
)
def test_known_networks(make, parameters, multiplications):
    """Both figures as torchvision's documentation gives them."""
    found = count(make, 224)
    assert found.parameters == parameters and found.gradients == 4 * parameters
    assert found.forward == pytest.approx(2 * multiplications, rel=2e-3)
    # the first convolution needs no gradient of its input
    assert 2.9 < found.step / found.forward < 3
    more = count(make, 224, images=3)  # but for what batch norm keeps per batch
    assert more.step == found.step
    assert more.activations == pytest.approx(found.activations, rel=2e-3)


def test_counted_by_hand():
    def make():
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)
        )

    found = count(make, 4)
    conv, linear = 2 * (3 * 3 * 3) * 4 * 2 * 2, 2 * 16 * 5
    assert found.parameters == 4 * 3 * 9 + 16 * 5 + 5
    assert found.forward == conv + linear
    assert found.step == 2 * conv + 3 * linear  # images need no gradient
    # x, the ReLU's output (once, though two layers keep it), log-probabilities, labels, a weight
    assert found.activations == 4 * 3 * 16 + 4 * 16 + 4 * 5 + 8 + 4 // 2


def test_no_memory_is_asked_for():
    assert (
        count(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 10**6, 10**5)), 1000).parameters
        > 3e11
    )


@pytest.mark.parametrize(("n", "share"), [(1, 0), (2, 1), (4, 1.5), (8, 1.75), (1000, 1.998)])
def test_what_each_device_sends(n, share):
    assert ring_bytes(1e6, n) == pytest.approx(share * 1e6)
    assert ring_seconds(1e6, n, FAST) == pytest.approx(share * 1e-3)
    assert ring_seconds(1e6, n, SLOW) == pytest.approx(share + (n - 1))


def test_a_ring_that_sends_pieces_takes_as_long():
    """Piece by piece: n − 1 rounds to sum up, n − 1 to hand out, a piece of B / n in each."""
    n, num_bytes, seconds = 6, 3e6, 0.0
    for _ in range(2 * (n - 1)):
        seconds += SLOW.latency + num_bytes / n / SLOW.bandwidth
    assert ring_seconds(num_bytes, n, SLOW) == pytest.approx(seconds)


def test_a_step_with_and_without_overlap():
    link, num_bytes = Link(1e9, 0.0), 4 * BUCKET
    each = BUCKET / 1e9  # n = 2: a bucket's seconds
    assert step_seconds(1.0, num_bytes, 2, link, overlap=False) == pytest.approx(1 + 4 * each)
    assert step_seconds(1.0, num_bytes, 2, link, overlap=True) == pytest.approx(1 + each)
    slow = Link(1e7, 0.0)  # the backward pass of 2/3 s is over before three buckets have gone
    assert step_seconds(1.0, num_bytes, 2, slow, overlap=True) == pytest.approx(1 / 3 + 400 * each)
    small = BUCKET // 5  # one bucket: nothing to overlap with
    pair = [step_seconds(1.0, small, 4, SLOW, overlap) for overlap in (True, False)]
    assert pair[0] == pytest.approx(pair[1])


@pytest.mark.parametrize("overlap", [True, False])
def test_one_device_wastes_nothing_and_more_waste_more(overlap):
    shares = [efficiency(0.1, 1e8, n, Link(1e9, 1e-5), overlap) for n in (1, 2, 8, 64)]
    assert shares[0] == pytest.approx(1) and shares == sorted(shares, reverse=True)
    assert efficiency(0.1, 0, 8, FAST, overlap) == pytest.approx(1)
    assert efficiency(1e9, 1e8, 8, FAST, overlap) == pytest.approx(1)


def test_overlap_never_harms_but_for_a_second_message():
    for n in (2, 8, 64):
        for num_bytes in (1e5, 1e7, 1e8, 1e9):
            link = Link(1e9, 1e-5)
            with_overlap, without = (
                step_seconds(0.1, num_bytes, n, link, o) for o in (True, False)
            )
            assert with_overlap <= without + 2 * (n - 1) * link.latency + 1e-12


def test_most_devices():
    assert most_devices(lambda n: n <= 37) == 32
    assert most_devices(lambda n: n < 2) == 1
    assert most_devices(lambda n: True, limit=100) == 64


def test_a_link_from_its_times():
    link = Link(2e9, 3e-5)
    times = {b: ring_seconds(b, 2, link) for b in (4, 10**4, 10**8)}
    found = fit_link(times)
    assert (found.bandwidth, found.latency) == pytest.approx((2e9, 3e-5), rel=1e-6)
    with pytest.raises(ValueError, match="two sizes, the larger one slower"):
        fit_link({4: 1.0})
    with pytest.raises(ValueError, match="two sizes, the larger one slower"):
        fit_link({4: 1.0, 8: 0.5})


def measured():
    """What `measure` would find, without measuring."""
    return {
        "images_per_second": {"ResNet-18": 5.0, "ResNet-50": 2.0},
        "loopback": Link(1e9, 1e-4),
        "decode_seconds": 5e-3,
        "file_bytes": 110_000.0,
        "small": {
            "one": (20.0, 22.0), "two": (32.0, 33.0), "ratios": [1.6, 1.5], "predicted": 0.9,
            "gradients": 44_000_000, "each": 16,
        },
        "few": 8,
    }  # fmt: skip


def test_the_report_is_whole():
    text = scaling.report(measured(), "a machine", 1)
    assert not re.search(r"[{}]|nan|None", text)
    assert all(len({line.count("|") for line in block.splitlines()}) == 1 for block in
               re.findall(r"(?:^\|.*\n)+", text, re.M))  # fmt: skip
    for link in scaling.LINKS:
        assert link in text


def test_the_stored_report_was_made_by_this_command():
    """Its words, that is; its figures are of the machine that measured them."""
    stored = (ROOT / "reports" / "scaling.md").read_text("utf-8")
    fresh = scaling.report(measured(), "a machine", 1)
    heads = [re.findall(r"^#.*", text, re.M) for text in (stored, fresh)]
    assert heads[0] == heads[1]
    tables = [re.findall(r"^\| (?!-)[^|]+\|", text, re.M) for text in (stored, fresh)]
    assert tables[0] == tables[1]


def test_one_image_file_is_measured():
    seconds, size = scaling_measure.time_decoding(224, repeats=2)
    assert 0 < seconds < 1 and 50_000 < size < 250_000


def test_images_a_second_are_measured():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 10))
    assert scaling_measure.time_training(lambda: model, size=8, images=4, steps=2) > 0
    assert torch.isfinite(model[1].weight).all()
