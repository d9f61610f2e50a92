"""Write a data set's class semantics: data/<data set>/semantics.npz; and columns.csv, how a user's table was taken."""

from pathlib import Path

from pipeline.common import arguments, files, params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.datasets import own, semantics, semantics_file
from pipeline.datasets.base import FileShare
from pipeline.datasets.base import registry as datasets


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset")
    module, given = datasets.get(args.dataset), params.load()
    choice = given.section(f"{args.dataset}.semantics", module.SEMANTICS)
    share = given.section(f"{args.dataset}.files.share", FileShare)
    folder, file = Path("data", args.dataset), own.read(args.dataset, "semantics")
    built, words = semantics_file.chosen(module, folder / "raw", choice, file.path, share)
    semantics.write(folder / "semantics.npz", built)
    files.write_csv(folder / "columns.csv", built.taken, ("column", "taken", "attributes"))
    rows, columns = built.attributes.shape
    words = f"; {words}" if words else ""
    print(f"semantics {args.dataset}: {built.source}, {rows} classes x {columns}{words}", flush=True)


if __name__ == "__main__":
    main()
