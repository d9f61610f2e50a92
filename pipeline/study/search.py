"""Better settings for a model, found on validation alone: python -m pipeline.study search bsegn cub --trials 50

Optuna (`pip install 'optuna>=4'`) draws settings from the ranges in pipeline/models/<model>/space.py, each is a
selection of epochs as `dvc repro` makes one, and its goal is the figure on the classes that act as unseen, averaged
over folds. No test row is read. One that is worse than most were at the same look at the training is stopped. The first
is what params.yaml says. All is kept in results/studies/search-<model>-<data set>.journal: the same command goes on
with more. Epochs and widths, which decide how long it takes, are yours to set with -S; what the params leave empty is
drawn where --only names it.

    python -m pipeline.study search bsegn cub --trials 50
    python -m pipeline.study search hsva flo --trials 30 -S 'epochs=12' --goal AUSUC --only lr lambda_d.most
    python -m pipeline.study search bsegn cub --trials 0 --apply
"""

import csv
import dataclasses
import hashlib
import importlib
import json
from pathlib import Path

import numpy as np

from pipeline.common import files, params
from pipeline.common.errors import UserError
from pipeline.protocol import store
from pipeline.study import places, run, trainings, trials
from pipeline.study.progress import Board
from pipeline.study.trainings import Training
from pipeline.study.work import Pruned

GOALS = ("H", "AUSUC", "T1")
CONFIGURED = "as configured"
STARTUP, WARM = 5, 1
"""Trials that nothing is stopped before, and looks at a training that it is not stopped at."""


@dataclasses.dataclass(frozen=True)
class Median:
    """Ends a selection whose best so far is below the median of the others' values at the same look, in the first fold.

    As Optuna's median pruner, which would ask its storage at every look: a worker on another host does not reach it.
    bar: a value a look, as many as most trials had
    """

    goal: str
    bar: tuple[float, ...]

    def __call__(self, rows):
        reached = curve(rows, self.goal)
        look = len(reached) - 1
        if WARM <= look < len(self.bar) and max(reached) < self.bar[look]:
            raise Pruned(reached)


def curve(rows, goal):
    """The best value of a figure at each look at a training, from the rows of a sweep."""
    best = {}
    for row in rows:
        value = float(row[goal])
        best[int(row["epoch"])] = max(value, best.get(int(row["epoch"]), value))
    return list(best.values())


def bar(curves):
    """The medians that a `Median` compares with; none where there are too few curves."""
    if len(curves) < STARTUP:
        return ()
    looks = max(map(len, curves))
    at_look = [[curve[look] for curve in curves if look < len(curve)] for look in range(looks)]
    return tuple(float(np.median(values)) for values in at_look if len(values) >= STARTUP)


def space(model, base, only=None):
    """The ranges of a model by dotted key: those named by `only`, or all but those of what its params leave empty."""
    known = importlib.import_module(f"pipeline.models.{model}.space").SPACE
    for name in only or ():
        if name not in known:
            raise UserError(f"--only: no search of {model} draws '{name}'{params.hint(name, known)}")
    if only:
        return {name: known[name] for name in only}
    # empty may be one of the values
    empty = {name for name in known if value(base, name) is None and not trials.within(known[name], None)}
    return {name: drawn for name, drawn in known.items() if name not in empty}


def value(config, key):
    """What a Config holds at a dotted key."""
    for part in key.split("."):
        config = getattr(config, part)
    return config


def words(drawn):
    """Settings as `-S` of a study takes them."""
    return " ".join(f"{key}={'null' if value is None else value}" for key, value in drawn.items())


class Search:
    """A search: what it draws from, what it is asked for, and what came of it so far. args: the command line's."""

    def __init__(self, args, given):
        self.args, self.given = args, given
        self.how, self.run = trainings.protocol(given, args.folds)
        self.base = trainings.configured(given, args.model, args.dataset, *args.set)
        self.ranges = space(args.model, self.base, args.only)
        self.name = args.name or f"search-{args.model}-{args.dataset}"
        self.folder = Path("results/studies")
        self.kept = trials.Trials(self.folder / f"{self.name}.journal", self.ranges, args.seed)
        self.kept.same(self.begun_with())
        self.waiting, self.curves = {}, self.kept.curves()

    def begun_with(self):
        """What all trials of one search have in common, by words for it."""
        fixed = dataclasses.asdict(self.base)
        for key in self.ranges:
            *parents, last = key.split(".")
            node = fixed
            for parent in parents:
                node = node[parent]
            node.pop(last)
        ranges = {key: repr(drawn) for key, drawn in self.ranges.items()}
        held = {"goal": self.args.goal, "folds": self.how.folds, "checks": self.how.checks, "seed": self.args.seed}
        held |= {"ranges": ranges, "settings": fixed, "data": trainings.benchmark(self.args.dataset)[1]}
        held["code"] = store.code("selection", self.args.model)
        return {name: kept if isinstance(kept, str | int) else _digest(kept) for name, kept in held.items()}

    def config(self, drawn):
        """The Config of what was drawn."""
        return trainings.configured(self.given, self.args.model, self.args.dataset, *self.args.set, words(drawn))

    def ask(self, count):
        """Trainings of so many more trials, drawn one by one as they are asked for; that of the params first."""
        if self.kept.configured() is None:
            yield Training(*self._what(self.base), variant=CONFIGURED, tested=False)
        for number in range(count):
            first = (
                {key: value(self.base, key) for key in self.ranges} if not self.kept.tried() and not number else None
            )
            trial, drawn = self.kept.ask(first)
            try:
                config = self.config(drawn)
            except UserError as error:
                self.kept.fail(trial)
                raise UserError(f"the ranges of {self.args.model} hold what its params may not: {error}") from None
            watch = Median(self.args.goal, bar(self.curves))
            training = Training(*self._what(config), words(drawn), f"trial {trial.number}", tested=False, watch=watch)
            self.waiting[training.variant] = trial
            yield training

    def _what(self, config):
        return self.args.dataset, self.args.model, self.args.seed, config, self.how

    def tell(self, going):
        """Keep what came of a trial."""
        if going.training.variant == CONFIGURED:
            self.kept.configured(going.chosen["validation"][self.args.goal])
            return
        trial = self.waiting.pop(going.training.variant)
        if going.curve is not None:
            self.kept.prune(trial, going.curve)
            return
        rows = files.read_csv(store.FOLDER / going.selecting.hash / "selection.csv")
        reached = curve([row for row in rows if row["fold"] == "1"], self.args.goal)
        self.curves.append(reached)
        self.kept.tell(trial, going.chosen["validation"][self.args.goal], reached)

    def fail(self, training):
        """Keep that nothing came of a trial."""
        if training.variant != CONFIGURED:
            self.kept.fail(self.waiting.pop(training.variant))

    def table(self):
        """A row a trial, in order, with the best value so far; also written as CSV."""
        rows, best = [], float("-inf")
        for number, state, reached, drawn in self.kept.all():
            best = max(best, reached) if reached is not None else best
            figures = {"trial": number, "state": state, self.args.goal: reached, "best": best}
            rows.append(figures | drawn)
        path = self.folder / f"{self.name}.csv"
        columns = ("trial", "state", self.args.goal, "best", *self.ranges)
        with files.replacing(path, "w") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        return rows, path


def _digest(held):
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:16]


def told(search):
    """The best so far and what makes it, in lines."""
    rows, path = search.table()
    done = [row for row in rows if row["state"] == "complete"]
    if not done:
        yield f"no trial has ended well yet; all are in {path}"
        return
    goal, args = search.args.goal, search.args
    counts = {state: sum(row["state"] == state for row in rows) for state in ("complete", "pruned", "fail")}
    yield f"{', '.join(f'{count} {state}' for state, count in counts.items())}; all are in {path}"
    if search.kept.configured() is not None:
        yield f"{CONFIGURED}: {goal} on validation {search.kept.configured():.2f}"
    for row in sorted(done, key=lambda row: -row[goal])[:5]:
        yield f"trial {row['trial']}: {goal} on validation {row[goal]:.2f}  {words(drawn(search, row))}"
    settings = " ".join([*args.set, words(drawn(search, best(search)))])
    seeds = "--seeds 0 1 2"
    yield f"over seeds, with the test images: python -m pipeline.study ablate {args.model} {args.dataset} {seeds} \\"
    yield f"  --variant '{settings}'"


def drawn(search, row):
    """The settings of a trial's row."""
    return {key: row[key] for key in search.ranges}


def best(search):
    """The row of the best trial."""
    done = [row for row in search.table()[0] if row["state"] == "complete"]
    return max(done, key=lambda row: row[search.args.goal])


def apply(search):
    """Write the best settings, and those of -S, into params.yaml as `dvc exp run -S` does."""
    from dvc.utils.hydra import apply_overrides

    from pipeline.report.command import written

    args = search.args
    settings = " ".join([*args.set, words(drawn(search, best(search)))])
    pairs = trainings.split(args.model, args.dataset, settings)
    apply_overrides(params.FILE, [f"++{args.model}.{args.dataset}.{key}={written(value)}" for key, value in pairs])
    found = trainings.configured(params.load(), args.model, args.dataset)
    assert found == search.config(drawn(search, best(search)))
    print(f"{params.FILE}: {args.model}.{args.dataset} is now that of trial {best(search)['trial']}")


def arguments(commands):
    """The command line, as one of the study's commands."""
    parser = places.command(commands, "search", __doc__, "better settings, found on validation alone")
    parser.set_defaults(command=main)
    parser.add_argument("model", choices=params.MODELS)
    parser.add_argument("dataset", choices=params.DATASETS)
    parser.add_argument("--trials", type=int, required=True, metavar="N", help="how many more to try; 0 shows them")
    parser.add_argument("--goal", choices=GOALS, default="H", help="on validation; by default H")
    parser.add_argument("--folds", type=int, metavar="N", help="of validation; by default selection.folds")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings and of what is drawn; by default 0")
    parser.add_argument("--only", nargs="+", metavar="KEY", help="draw these and leave the others as they are")
    parser.add_argument(
        "-S", "--set", action="append", default=[], metavar="KEY=VALUE", help="of the model's section, for all trials"
    )
    parser.add_argument("--name", help="of the search, where there are several of a model on a data set")
    parser.add_argument("--apply", action="store_true", help="write the best into params.yaml")
    places.arguments(parser)


def main(args):
    """Try so many more, show the best, and where asked for take them."""
    if args.trials < 0:
        raise UserError(f"--trials {args.trials}: should be at least 0")
    given = params.load()
    trainings.benchmark(args.dataset)
    search = Search(args, given)
    failed = []
    if args.trials:
        with places.place(args, search.run, search.name) as place:
            board = Board(search.name, args.trials + (search.kept.configured() is None))
            study = run.Study(search.ask(args.trials), place, search.run, board, search.tell, failed=search.fail)
            with run.told():
                failed = study.all()
    print("\n".join(told(search)), flush=True)
    if args.apply and any(row["state"] == "complete" for row in search.table()[0]):
        apply(search)
    run.finish(failed, args.trials)
