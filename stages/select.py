"""Choose the epochs of one data set and seed on its validation classes."""

from pipeline.common import arguments, files, machine, params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.protocol import selection, setting


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset", "seed")
    given = params.load()
    how = given.section("selection", selection.Selection)
    our = setting.read(given, args.dataset, args.seed)

    label = our.label("select")
    print(f"{label}: on {machine.describe(our.device)}", flush=True)
    checkpoints = [our.checkpoint(f"select-{fold}", how) for fold in range(how.folds)]
    what = our.benchmark, our.module, our.config, how, our.seed, our.device
    chosen, rows = selection.select(*what, label, checkpoints)
    files.write_csv(our.out / "selection.csv", rows)
    files.write_json(our.out / "selected.json", {"model": our.model} | chosen)
    for checkpoint in checkpoints:
        checkpoint.remove()
    print(f"{label}: epoch {chosen['epoch']}, where H on validation is {chosen['validation']['H']:.1f}", flush=True)


if __name__ == "__main__":
    main()
