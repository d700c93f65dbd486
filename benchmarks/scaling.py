"""What a training of ImageNet's size would cost, from counts, measurements and stated constants.

OMP_NUM_THREADS=1 python -m benchmarks.scaling            the report, on the terminal
OMP_NUM_THREADS=1 python -m benchmarks.scaling --write    and into reports/scaling.md

It needs two idle cores and about three minutes.
"""

import argparse
import datetime
import sys
from pathlib import Path

import numpy as np
from torchvision.models import resnet18, resnet50

from benchmarks.scaling_measure import measure
from benchmarks.scaling_model import (
    BUCKET,
    Link,
    count,
    efficiency,
    most_devices,
    ring_bytes,
    step_seconds,
)
from shared.environment import ROOT, hardware, num_threads, versions, write_atomically

REPORT = ROOT / "reports" / "scaling.md"
MODELS = {"ResNet-18": resnet18, "ResNet-50": resnet50}
# Stated, not measured; the report repeats them with these sources.
IMAGES, EPOCHS, SIZE = 1_281_167, 90, 224  # Russakovsky et al. 2015; He et al. 2016
ARCHIVE = 147_897_477_120  # bytes of ILSVRC2012_img_train.tar
LARGEST_BATCH = 8_192  # Goyal et al. 2017: beyond, accuracy falls
PEAK, SHARE = 156e12, 0.2  # NVIDIA's data sheet of the A100, TF32; our assumption
WEAK, STRONG = 128, 256  # images per device; images per step of all devices together
DISK = 1.25e9  # bytes/s of a shared disk behind 10 Gbit/s
ENOUGH = (0.9, 0.8)  # an efficiency below is "stops"; two, since curves are nearly flat
LINKS = {  # nominal bytes/s in each direction; latencies are our assumption
    "1 Gbit/s Ethernet": Link(0.125e9, 50e-6),
    "10 Gbit/s Ethernet": Link(1.25e9, 50e-6),
    "100 Gbit/s InfiniBand": Link(12.5e9, 5e-6),
    "NVLink (A100)": Link(300e9, 5e-6),
}
TEXT = (Path(__file__).parent / "scaling_text.md").read_text("utf-8")


def table(head: tuple, rows: list[tuple]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def counts_table(counted: dict) -> str:
    rows = []
    for name, c in counted.items():
        sent = f"{ring_bytes(c.gradients, 8) / 1e6:.0f} / {ring_bytes(c.gradients, 64) / 1e6:.0f}"
        row = (name, f"{c.parameters / 1e6:.1f}", f"{c.step / 1e9:.1f}")
        row += (f"{WEAK * c.step / 1e12:.2f}", f"{IMAGES * EPOCHS * c.step / 1e18:.2f}")
        row += (f"{c.activations / 1e6:.0f}",)
        rows.append((*row, f"{c.gradients / 1e6:.0f}", sent))
    head = ("network", "million parameters", "GFLOP per image", f"TFLOP per step of {WEAK} images")
    head += ("EFLOP in all",)
    head += ("MB of activations per image", "MB of gradients", "MB sent per step, n = 8 / 64")
    return table(head, rows)


def devices(found: dict, counted: dict) -> dict:
    """Return {device: {network: images/s}}: a core, measured, and a GPU, assumed."""
    gpu = {name: PEAK * SHARE / c.step for name, c in counted.items()}
    return {"a core of this machine": found["images_per_second"], "a GPU": gpu}


def three_digits(number: float) -> str:
    """Return a number with three digits or more, without an exponent."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def cost_table(speeds: dict) -> str:
    rows = []
    for device, speed in speeds.items():
        for name, rate in speed.items():
            days = IMAGES * EPOCHS / rate / 86_400
            data = rate * ARCHIVE / IMAGES / 1e6
            rows.append((device, name, *map(three_digits, (rate, days, data))))
    return table(("device", "network", "images/s", "days for 90 epochs", "MB/s of files"), rows)


def efficiency_table(speed: dict, counted: dict, links: dict) -> str:
    """Return a table of efficiencies, without / with overlap."""
    head, rows = ["connection"], []
    for name in speed:
        head += [f"{name}, {kind} {n}" for kind in ("weak", "strong") for n in (8, 64)]
    for link_name, link in links.items():
        row = [link_name]
        for name, rate in speed.items():
            for images in (lambda n: WEAK, lambda n: STRONG / n):
                for n in (8, 64):
                    both = [
                        efficiency(images(n) / rate, counted[name].gradients, n, link, overlap)
                        for overlap in (False, True)
                    ]
                    row.append(" / ".join(f"{share:.2f}" for share in both))
        rows.append(tuple(row))
    return table(tuple(head), rows)


def links_table(links: dict) -> str:
    rows = [(k, f"{v.bandwidth / 1e9:.3g}", f"{v.latency * 1e6:.3g}") for k, v in links.items()]
    return table(("connection", "GB/s", "latency in µs"), rows)


def limits(rate: float, gradients: int, link: Link, enough: float) -> dict[str, int]:
    """Return {part: the most devices that it allows}, in weak scaling but for the last."""

    def good(images, n):
        return efficiency(images / rate, gradients, n, link, overlap=True) >= enough

    return {
        "communication": most_devices(lambda n: good(WEAK, n)),
        "shared disk": most_devices(lambda n: n * rate * ARCHIVE / IMAGES <= DISK),
        "batch size": most_devices(lambda n: n * WEAK <= LARGEST_BATCH),
        "communication, strong": most_devices(lambda n: n <= STRONG and good(STRONG / n, n)),
    }


def limits_table(speeds: dict, counted: dict, links: dict[str, dict]) -> str:
    """Return a table of what each device allows with each of links[device]."""
    head, rows = None, []
    for device, speed in speeds.items():
        for link_name, link in links[device].items():
            for name, rate in speed.items():
                both = [limits(rate, counted[name].gradients, link, enough) for enough in ENOUGH]
                shown, first = [], []
                for part in both[0]:
                    most = [
                        f"{n}" if n < 4096 else "4096+" for n in (found[part] for found in both)
                    ]
                    shown.append(" / ".join(dict.fromkeys(most)))
                for found in both:
                    weak = {part: n for part, n in found.items() if "strong" not in part}
                    first += [part for part, n in weak.items() if n == min(weak.values())]
                first = " or ".join(dict.fromkeys(first))
                rows.append((device, link_name, name, *shown, first))
                head = ("device", "connection", "network", *both[0], "first, weak")
    return table(head, rows)


def report(found: dict, machine: str, threads: int) -> str:
    """Return the whole report from what `measure` found."""
    counted = {name: count(make, SIZE) for name, make in MODELS.items()}
    links = {"loopback, gloo (measured)": found["loopback"], **LINKS}
    speeds, small = devices(found, counted), found["small"]
    core, gpu = speeds.values()
    near = {name: LINKS[name] for name in list(LINKS)[:2]}  # nobody links single cores faster
    busy = gpu["ResNet-50"] * found["decode_seconds"]
    one, two, ratios = (np.array(small[key]) for key in ("one", "two", "ratios"))
    compute = small["each"] / one.mean()
    here = step_seconds(compute, small["gradients"], 2, found["loopback"], False)
    return TEXT.format(
        counts=counts_table(counted),
        costs=cost_table(speeds),
        core_table=efficiency_table(core, counted, near),
        gpu_table=efficiency_table(gpu, counted, LINKS),
        limits=limits_table(speeds, counted, dict(zip(speeds, (near, LINKS), strict=True))),
        links=links_table(links),
        few=found["few"], each=small["each"],
        images=IMAGES, epochs=EPOCHS, size=SIZE, weak=WEAK, strong=STRONG, share=SHARE,
        peak=PEAK / 1e12, largest=LARGEST_BATCH, disk=DISK / 1e9,
        enough=" / ".join(map(str, ENOUGH)), most=LARGEST_BATCH // WEAK,
        file=ARCHIVE / IMAGES / 1e3, bucket=BUCKET / 2**20,
        memory=IMAGES * 3 * SIZE**2 * 4 / 1e9, decode=found["decode_seconds"] * 1e3,
        sample=found["file_bytes"] / 1e3, cores=busy, one=one.mean(), two=two.mean(),
        pairs=len(ratios), measured=ratios.mean() / 2, spread=ratios.std(ddof=1) / 2,
        lost=1 - ratios.mean() / 2, explained=1 - small["predicted"],
        predicted=small["predicted"], seconds=here, megabytes=small["gradients"] / 1e6,
        date=datetime.date.today().isoformat(), hardware=machine, threads=threads,
        versions=versions(),
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    options = parser.parse_args()
    if num_threads() != 1:
        parser.error("set OMP_NUM_THREADS=1: a device is one core here")
    text = report(measure(MODELS, SIZE), hardware(), num_threads())
    print(text)
    if options.write:
        write_atomically(REPORT, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
