"""Compare two experiments seed by seed: python -m pipeline.study compare A B

A and B are git revisions or names of experiments, or results/seeds.csv files; B left out is the workspace.
"""

import csv
import io
import math
from pathlib import Path

from pipeline.common.errors import UserError, first_of
from pipeline.protocol.metrics import FIGURES
from pipeline.report.statistics import compare

TABLE = "results/seeds.csv"


def read(name):
    """{data set: (model, {figure: {seed: percent}})} of a revision or a file."""
    is_file = Path(name).is_file()
    where = name if is_file else f"{name}: {TABLE}"
    try:
        text = Path(name).read_text(encoding="utf-8") if is_file else _of_revision(name)
    except UnicodeDecodeError:
        raise UserError(f"{where}: is not text; it should be a seeds.csv, which `dvc repro` writes") from None
    try:
        return _found(csv.DictReader(io.StringIO(text)), where)
    except csv.Error as error:
        raise UserError(f"{where}: is no table ({error}); it should be a seeds.csv, which `dvc repro` writes") from None


def _found(rows, where):
    if missing := {"model", "dataset", "seed", *FIGURES} - set(rows.fieldnames or ()):
        raise UserError(
            f"{where}: lacks the column {first_of(missing)}; it should be a seeds.csv, which `dvc repro` writes"
        )
    found = {}
    for row in rows:
        place = f"{where}: line {rows.line_num}"
        seed = _number(int, row, "seed", place)
        _, figures = found.setdefault(row["dataset"], (row["model"], {}))
        # without photographs of unseen classes there is S alone
        for figure in [figure for figure in FIGURES if row[figure] != ""]:
            figures.setdefault(figure, {})[seed] = _number(float, row, figure, place)
    if not found:
        raise UserError(f"{where}: holds no rows; `dvc repro` writes it")
    return found


def _number(kind, row, column, where):
    try:
        return kind(row[column])
    except (TypeError, ValueError):
        raise UserError(f"{where}: {column} is {row[column] or ''!r}; it should be a number") from None


def _of_revision(name):
    import dvc.api
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    try:
        return dvc.api.read(TABLE, rev=name, encoding="utf-8")
    except (DvcException, SCMError, OSError) as error:
        raise UserError(
            f"{name}: holds no {TABLE} ({error}); name an experiment (`dvc exp list` knows them) or a seeds.csv"
        ) from None


def lines(a, b):
    """The comparison of what `read` gave, for people."""
    for dataset in a:
        if dataset not in b:
            continue
        (model_a, figures_a), (model_b, figures_b) = a[dataset], b[dataset]
        common = [figure for figure in FIGURES if figure in figures_a and figure in figures_b]
        found = {figure: compare(figures_a[figure], figures_b[figure]) for figure in common}
        # which every run has
        if found["S"] is None:
            yield f"{dataset}: no seed is in both"
            continue
        seeds = found["S"].seeds
        count = f"{len(seeds)} seed{'s' * (len(seeds) != 1)}"
        yield f"{dataset}: {model_a} -> {model_b}, {count} in both ({', '.join(map(str, seeds))})"
        for figure, result in found.items():
            if result is None:
                continue
            before, after = (
                sum(of_seed[figure][seed] for seed in result.seeds) / len(result.seeds)
                for of_seed in (figures_a, figures_b)
            )
            yield f"  {figure:5} {before:5.1f} -> {after:5.1f}  {words(result)}"


def words(result):
    """A `Comparison` in words."""
    over = result.difference
    text = f"{over.mean:+5.1f}"
    if math.isfinite(over.half):
        text += f"  95% {over.mean - over.half:+.1f} to {over.mean + over.half:+.1f}"
    if math.isfinite(result.p):
        text += f", p {result.p:.2g}"
    return f"{text}, higher on {result.favour_b} of {over.count}"


def arguments(commands):
    """The command line, as one of the study's commands."""
    parser = commands.add_parser("compare", help="two experiments, seed by seed", description=__doc__.split("\n\n")[0])
    parser.set_defaults(command=main)
    parser.add_argument("a", help="a revision, an experiment or a seeds.csv")
    parser.add_argument("b", nargs="?", default=TABLE, help="another; the workspace if left out")


def main(args):
    """Print the comparison."""
    shown = list(lines(read(args.a), read(args.b)))
    if not shown:
        raise UserError(f"{args.a} and {args.b} have no data set in common")
    print("\n".join(shown))
