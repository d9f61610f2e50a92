"""Compare two experiments seed by seed: python -m pipeline.compare A B

A and B are git revisions or names of experiments, or results/seeds.csv files; B left out is the workspace.
"""

import argparse
import csv
import io
import math
from pathlib import Path

from pipeline.errors import UserError, one_line
from pipeline.protocol import FIGURES
from pipeline.report.statistics import compare

TABLE = "results/seeds.csv"


def read(name):
    """{data set: (model, {figure: {seed: percent}})} of a revision or a file."""
    if Path(name).is_file():
        text = Path(name).read_text(encoding="utf-8")
    else:
        import dvc.api
        from dvc.exceptions import DvcException
        from scmrepo.exceptions import SCMError

        try:
            text = dvc.api.read(TABLE, rev=name, encoding="utf-8")
        except (DvcException, SCMError, OSError) as error:
            raise UserError(
                f"{name}: holds no {TABLE} ({error}); name an experiment (`dvc exp list` knows them) or a seeds.csv"
            ) from None
    found = {}
    for row in csv.DictReader(io.StringIO(text)):
        _, figures = found.setdefault(row["dataset"], (row["model"], {}))
        for figure in FIGURES:
            figures.setdefault(figure, {})[int(row["seed"])] = float(row[figure])
    if not found:
        raise UserError(f"{name}: {TABLE} holds no rows; `dvc repro` writes it")
    return found


def lines(a, b):
    """The comparison of what `read` gave, for people."""
    for dataset in a:
        if dataset not in b:
            continue
        (model_a, figures_a), (model_b, figures_b) = a[dataset], b[dataset]
        found = {figure: compare(figures_a[figure], figures_b[figure]) for figure in FIGURES}
        if found["H"] is None:
            yield f"{dataset}: no seed is in both"
            continue
        seeds = found["H"].seeds
        yield f"{dataset}: {model_a} -> {model_b}, {len(seeds)} seeds in both ({', '.join(map(str, seeds))})"
        for figure, result in found.items():
            before, after = (
                sum(of_seed[figure][seed] for seed in seeds) / len(seeds) for of_seed in (figures_a, figures_b)
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


@one_line
def main():
    parser = argparse.ArgumentParser(prog="python -m pipeline.compare", description=__doc__.split("\n\n")[0])
    parser.add_argument("a", help="a revision, an experiment or a seeds.csv")
    parser.add_argument("b", nargs="?", default=TABLE, help="another; the workspace if left out")
    args = parser.parse_args()
    shown = list(lines(read(args.a), read(args.b)))
    if not shown:
        raise UserError(f"{args.a} and {args.b} have no data set in common")
    print("\n".join(shown))


if __name__ == "__main__":
    main()
