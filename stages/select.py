"""Choose the epochs of one data set and seed on its validation classes."""

from pipeline.common import arguments, files, machine, params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.protocol import selection, setting, store


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset", "seed")
    given = params.load()
    how = given.section("selection", selection.Selection)
    our = setting.read(given, args.dataset, args.seed)

    label = our.label("select")
    print(f"{label}: on {machine.describe(our.device)}", flush=True)
    entry = our.selecting(how)
    _, there = entry.made(lambda folder: selection.leave(our, how, label, folder))
    entry.copy(our.out)
    our.forget(entry)
    chosen = files.read_json(our.out / "selected.json")
    what = f"epoch {chosen['epoch']}, where H on validation is {chosen['validation']['H']:.1f}"
    print(f"{label}: {what}{store.TAKEN.format(entry.folder) * there}", flush=True)


if __name__ == "__main__":
    main()
