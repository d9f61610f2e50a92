"""Everything after extraction at any size: `python -m benchmarks.scale [--images 50000 200000 --classes 200 5000]`.

Makes features of N images and C classes (a fifth of them unseen) in the layout of the pipeline, and runs select, train
(two epochs), evaluate and report as DVC does, each in a process of its own. Of each it prints

    seconds     that passed, and that processors worked, which a busy machine lengthens less
    us/image    processors' microseconds an image, without those of an empty stage (imports)
    peak        memory of the process in GiB as Linux counts it, pages of the memory-mapped features among them
    beyond      GiB of memory of its own at most (no mapped file), without the training features that it holds

The last line is JSON, its `ratio` the time an image of the largest N over that of the smallest, by classes and stage.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from pipeline.common import files, params
from pipeline.datasets import index, splits

ROOT = Path(__file__).parent.parent
STAGES = ("select", "train", "evaluate", "report")
BLOCK = 65536

MODELS = {
    "eszsl": {"gammas": [0, 1], "lambdas": [0]},
    "hsva": {
        "epochs": 2,
        "batch": 256,
        "sad": False,
        "networks": {"hidden": 64, "aligned": 32, "common": 32, "latent": 16, "decoder": 64, "task": 16},
        "seen_samples": 4,
        "unseen_samples": 4,
        "czsl_samples": 4,
        "classifier": {"gzsl_epochs": 2, "czsl_epochs": 2, "batch": 256},
    },
    "bsegn": {
        "epochs": 2,
        "batch": 256,
        "levels": 1,
        "synthetic": 4,
        "critic_steps": 1,
        "widths": dict.fromkeys(("encoder", "generator", "critic", "cycle1", "cycle2", "fem"), 64),
        "classifier": {"gzsl_epochs": 1, "czsl_epochs": 1, "batch": 256},
    },
}
"""Models made narrow: what is measured is what surrounds them."""


def parts(classes, images):
    """(labels, split, validation) of N images: a fifth of the classes unseen, another fifth in validation."""
    labels, turn = np.arange(images) % classes, np.arange(images) // classes % 4
    unseen, aside = labels >= classes - classes // 5, labels < classes // 5
    split = np.where(unseen, "test_unseen", np.where(turn == 1, "test_seen", "trainval"))
    fold = np.where(aside, "val_unseen", np.where(turn == 2, "val_seen", "train"))
    return labels, split, np.where(split == "trainval", fold, "")


def make(root, model, images, classes, width, semantics, seed=0):
    """A project in the folder `root`: params.yaml, and the files of a data set as the stages before selection leave
    them. Features are their class's, which follows from its semantics, and noise. Returns how many are learnt from."""
    generator = np.random.default_rng(seed)
    attributes = generator.random((classes, semantics), np.float32)
    attributes /= np.linalg.norm(attributes, axis=1, keepdims=True)
    names = [f"class {i}" for i in range(classes)]
    labels, split, fold = parts(classes, images)
    data = root / "data/folder"
    built = index.Index([""] * images, labels, [names[label] for label in labels], split, [fold])
    splits.check(built)
    index.write(data / "index.csv", built)
    files.write_npz(
        data / "semantics.npz",
        attributes=attributes,
        class_names=np.array(names),
        attribute_names=np.array([f"attribute {i}" for i in range(semantics)]),
        source=np.array("drawn at random"),
    )
    means = attributes @ generator.normal(size=(semantics, width)).astype(np.float32)
    features = np.lib.format.open_memmap(data / "features.npy", "w+", np.float32, (images, width))
    for start in range(0, images, BLOCK):
        of_block = labels[start : start + BLOCK]
        noise = generator.standard_normal((len(of_block), width), np.float32)
        features[start : start + BLOCK] = means[of_block] + noise
    features.flush()
    tree = params.load(ROOT / params.FILE).tree
    tree |= {"model": model, "datasets": ["folder"], "seeds": [0], "selection": {"folds": 1, "checks": 1}}
    tree[model]["folder"] = MODELS[model]
    (root / params.FILE).write_text(yaml.safe_dump(tree), encoding="utf-8")
    return {"select": int((fold == "train").sum()), "train": int((split == "trainval").sum())}


def started(arguments, root):
    """Run Python with these arguments in a folder: seconds passed, of processors; bytes at most, of no file."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    began, peak, own = time.monotonic(), 0, 0
    with tempfile.TemporaryFile("w+") as output:
        command = [sys.executable, *arguments]
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=output, stderr=subprocess.STDOUT)
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            # of the process itself: what the system says after its end counts this one's memory before the start
            status = _status(process.pid)
            peak = max(peak, status.get("VmHWM", 0))
            own = max(own, status.get("RssAnon", 0) + status.get("RssShmem", 0))
            time.sleep(0.01)
        seconds, (_, status, usage) = time.monotonic() - began, ended
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(arguments)}: failed\n{output.read()}")
    return seconds, usage.ru_utime + usage.ru_stime, peak, own


def _status(pid):
    """What Linux says of a process's memory, in bytes; nothing once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split()[:2] for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): 1024 * int(kilobytes) for name, kilobytes in pairs}


def measure(model, images, classes, width, semantics, folder):
    """Microseconds an image by stage, of one size; prints a line a stage."""
    each = {}
    with tempfile.TemporaryDirectory(dir=folder) as root:
        root = Path(root)
        held = make(root, model, images, classes, width, semantics)
        _, empty, *_ = started(["-c", "import stages.report"], root)
        for stage in STAGES:
            of = [] if stage == "report" else ["--dataset", "folder", "--seed", "0"]
            seconds, worked, peak, own = started(["-m", f"stages.{stage}", *of], root)
            each[stage] = 1e6 * (worked - empty) / images
            beyond = own - 4 * width * held.get(stage, 0)
            print(
                f"{model:<6} {images:>9,} images {classes:>6,} classes  {stage:<8} {seconds:8.1f} s {worked:8.1f} s"
                f" {each[stage]:8.1f} us/image  peak {peak / 2**30:5.2f} GiB  beyond {beyond / 2**30:5.2f} GiB",
                flush=True,
            )
        judged = len(np.load(root / "runs/folder/0/predictions.npz")["rows"])
        size = sum((root / f"runs/folder/0/{name}").stat().st_size for name in ("predictions.npz", "confusion.csv"))
        page = (root / "results/report.html").stat().st_size
        print(f"{'':38} written: {size / judged:.0f} bytes a judged image; page {page / 1e6:.2f} MB", flush=True)
    return each


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", nargs="+", type=int, default=[50_000, 200_000, 1_000_000])
    parser.add_argument("--classes", nargs="+", type=int, default=[200, 5_000, 20_000])
    parser.add_argument("--model", choices=MODELS, default="eszsl")
    parser.add_argument("--width", type=int, default=512, help="of the features")
    parser.add_argument("--semantics", type=int, default=85)
    parser.add_argument("--folder", help="where the files go while they are needed; the system's for such files")
    options = parser.parse_args()
    ratio = {}
    for classes in options.classes:
        sizes = {
            n: measure(options.model, n, classes, options.width, options.semantics, options.folder)
            for n in sorted(options.images)
        }
        least, most = sizes[min(sizes)], sizes[max(sizes)]
        ratio[str(classes)] = {stage: round(most[stage] / least[stage], 2) for stage in STAGES}
    print(json.dumps({"ratio": ratio}))


if __name__ == "__main__":
    main()
