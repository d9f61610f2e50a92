"""Every training that params.yaml asks for, and all models: python -m pipeline.study grid

Reads what `dvc repro` has made in data/<data set>/. `dvc repro` then takes what this left and trains nothing. A row a
training is appended to results/studies/grid.jsonl, of which `table` makes a table.

    python -m pipeline.study grid
    python -m pipeline.study grid --datasets cub sun --models hsva bsegn --seeds 0 1 2 --on ray --per-gpu 4
"""

import dataclasses
import datetime
import hashlib
from pathlib import Path

from pipeline.common import params
from pipeline.report import command, provenance
from pipeline.study import judging, places, rows, run, trainings
from pipeline.study.progress import Board
from pipeline.study.trainings import Training

OUT = "results/studies/grid.jsonl"


class Rows:
    """The rows of a study in a file, by what decides each.

    tree: of params.yaml, from which and from a training's settings the command of a row is made
    """

    def __init__(self, path, tree, run, device):
        self.path, self.tree, self.run, self.device = Path(path), tree, run, device
        self.committed, self.commit = command.committed(), provenance.commit()

    def key(self, training):
        """What a row is known by."""
        data = trainings.benchmark(training.dataset)[1]
        our = training.setting(data, self.run, self.device)
        kinds = ("selection", "training") if training.tested else ("selection",)
        decided = [our.decided(kind) for kind in kinds], dataclasses.asdict(training.how), training.tested
        return hashlib.sha256(repr(decided).encode()).hexdigest()[:12]

    def there(self, training):
        """Whether it has a row of its variant."""
        key = self.key(training)
        return any(row.get("key") == key and row.get("variant", "") == training.variant for row in rows.read(self.path))

    def add(self, going):
        """Append the row of a `run.Going`."""
        training = going.training
        what = {"dataset": training.dataset, "model": training.model, "variant": training.variant}
        what |= {"seed": training.seed, "settings": training.settings, "key": self.key(training)}
        tree = trainings.laid(self.tree, training.model, training.dataset, training.settings)
        made = command.command(tree, training.model, training.dataset, [training.seed], self.committed)
        when = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        what |= {"command": made, "commit": self.commit, "made": when}
        rows.append(self.path, what | judging.on_validation(going.chosen) | (going.figures or {}))


def every(given, datasets, models, seeds, how, tested=True):
    """The trainings of a grid, the seeds of a data set and model beside each other."""
    return [
        Training(dataset, model, seed, trainings.configured(given, model, dataset), how, tested=tested)
        for dataset in datasets
        for model in models
        for seed in seeds
    ]


def train(wanted, place, settings, kept, name):
    """Run the trainings that have no row in `kept`, a `Rows`, and append theirs; raises UserError where some failed.

    settings: a `machine.Run`
    """
    todo = [training for training in wanted if not kept.there(training)]
    if not todo:
        print(f"{name}: all {len(wanted)} rows are in {kept.path}")
        return
    print(f"{name}: {len(todo)} of {len(wanted)} trainings to do; rows go to {kept.path}", flush=True)
    board = Board(name, len(todo))
    study = run.Study(todo, place, settings, board, kept.add, kept.there)
    with run.told():
        run.finish(study.all(), len(todo))


def arguments(commands):
    """The command line, as one of the study's commands."""
    parser = places.command(commands, "grid", __doc__, "every training that params.yaml asks for")
    parser.set_defaults(command=main)
    parser.add_argument("--datasets", nargs="+", choices=params.DATASETS, help="by default those of params.yaml")
    parser.add_argument("--models", nargs="+", choices=params.MODELS, default=params.MODELS, help="by default all")
    parser.add_argument("--seeds", nargs="+", type=int, help="by default those of params.yaml")
    parser.add_argument("--validation", action="store_true", help="choose epochs and leave the test images alone")
    parser.add_argument("--out", default=OUT, help=f"where the rows go; by default {OUT}")
    places.arguments(parser)


def main(args):
    """Train what has no row yet."""
    given = params.load()
    how, settings = trainings.protocol(given)
    datasets = args.datasets or given.section("datasets", list[params.Dataset])
    seeds = args.seeds if args.seeds is not None else given.section("seeds", list[int])
    wanted = every(given, datasets, args.models, seeds, how, not args.validation)
    for dataset in datasets:
        trainings.benchmark(dataset)
    with places.place(args, settings, "grid") as place:
        train(wanted, place, settings, Rows(args.out, given.tree, settings, place.device), "grid")
