"""What the store of trainings holds, and what of it no params ask for: python -m pipeline.study clean

Asked for is what `dvc repro` and `grid` with the data sets and seeds of params.yaml would take, of all models. All else
is listed, and removed with --yes: variants, trials of searches, and what other params, code or data left. Its rows stay
in results/. What a training now is at is left alone.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.common import files, machine, params
from pipeline.protocol import store
from pipeline.study import grid, trainings

CHECKPOINTS = Path("checkpoints")


@dataclass(frozen=True)
class Held:
    """A folder of the store or of checkpoints. what: data set, model and kind, in words; asked: whether for it"""

    path: Path
    what: str
    size: int
    asked: bool


def asked_for(given, devices):
    """Hashes of all that the params ask for, on some kinds of device, as far as selections are there to say."""
    how, run = trainings.protocol(given)
    datasets = [name for name in given.section("datasets", list[params.Dataset]) if _there(name)]
    found = set()
    for training in grid.every(given, datasets, params.MODELS, given.section("seeds", list[int]), how):
        for device in devices:
            our = training.setting(trainings.benchmark(training.dataset)[1], run, torch.device(device))
            entry = our.selecting(how)
            found.add(entry.hash)
            if entry.left():
                found.add(our.training(files.read_json(entry.folder / "selected.json")).hash)
    return found


def _there(dataset):
    return Path(f"data/{dataset}/features.npy").exists()


def held(asked):
    """Every `Held`, in the order of their words. asked: hashes."""
    found = []
    for path in sorted(store.FOLDER.iterdir()) if store.FOLDER.is_dir() else ():
        about = store.read_about(path) if path.is_dir() else None
        if about and not path.name.startswith("."):
            what = f"{about['dataset']}, {about['decided'].get('model')}: {about['kind']}"
            found.append(Held(path, what, size(path), path.name in asked))
        elif path.is_dir() and _free(path.name.strip(".").split(".")[0]):
            found.append(Held(path, "halves, left by a kill", size(path), False))
    begun = [path for path in CHECKPOINTS.glob("*") if path.is_dir() and len(path.name) == 32 and _free(path.name)]
    found += [Held(path, "checkpoints", size(path), path.name in asked) for path in begun]
    return sorted(found, key=lambda one: (one.what, one.path))


def _free(name):
    """Whether no process is at the entry of this hash."""
    lock = store.Lock(store.FOLDER / f".{name}.lock")
    if not lock.take():
        return False
    lock.give()
    return True


def size(folder):
    """Bytes of all files in a folder."""
    return sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file())


def lines(found):
    """A line a kind of training, what is asked for apart."""
    for what in dict.fromkeys(one.what for one in found):
        for asked in (True, False):
            of = [one for one in found if (one.what, one.asked) == (what, asked)]
            if of:
                words = "asked for" if asked else "not asked for"
                yield f"{what}: {len(of)}, {sum(one.size for one in of) / 2**20:.1f} MiB, {words}"


def arguments(commands):
    """The command line, as one of the study's commands."""
    head, _, rest = __doc__.partition("\n\n")
    parser = commands.add_parser("clean", help="what the store of trainings holds", description=head, epilog=rest)
    parser.set_defaults(command=main)
    parser.add_argument("--yes", action="store_true", help="remove what is not asked for")


def main(args):
    """Say what there is, and with --yes remove what is not asked for."""
    given = params.load()
    devices = {machine.device(given.section("run", machine.Run).device).type, "cpu"}
    found = held(asked_for(given, sorted(devices)))
    if not found:
        print(f"{store.FOLDER}: holds nothing")
        return
    print("\n".join(lines(found)))
    loose = [one for one in found if not one.asked]
    total = f"{len(loose)} of {len(found)}, {sum(one.size for one in loose) / 2**20:.1f} MiB"
    if not args.yes:
        print(f"not asked for: {total}; --yes removes them")
        return
    for one in loose:
        # out of sight at once, so that no half of it is ever found
        gone = one.path.with_name(f".{one.path.name.strip('.')}.{os.getpid()}.gone")
        one.path.rename(gone)
        shutil.rmtree(gone)
    print(f"removed: {total}")
