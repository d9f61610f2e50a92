"""Gather the data sets and seeds of the params: results/metrics.json, results/report.html, CSVs."""

from itertools import chain
from pathlib import Path

from pipeline.common import files, params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.report import aggregate, contents, page


@one_line
@recorded
def main():
    given = params.load()
    model = given.section("model", params.Model)
    datasets = given.section("datasets", list[params.Dataset])
    seeds = given.section("seeds", list[int])

    runs = {name: [aggregate.load(model, name, seed) for seed in seeds] for name in datasets}
    out = Path("results")
    files.write_json(out / "metrics.json", {name: aggregate.summary(of_set) for name, of_set in runs.items()})
    for path, rows in aggregate.tables(list(chain(*runs.values()))).items():
        files.write_csv(out / path, rows)
    sets = [contents.gather(name, of_set) for name, of_set in runs.items()]
    with files.replacing(out / "report.html", "w") as file:
        file.write(page.page(model, sets))
    print(f"report: {model} on {', '.join(datasets)} in {out / 'report.html'}", flush=True)


if __name__ == "__main__":
    main()
