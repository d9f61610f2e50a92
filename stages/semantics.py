"""Write a data set's class semantics: data/<data set>/semantics.npz; and columns.csv, how a user's table was taken."""

from pathlib import Path

from pipeline.common import arguments, files, params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.datasets import semantics
from pipeline.datasets.base import registry as datasets


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset")
    module = datasets.get(args.dataset)
    choice = params.load().section(f"{args.dataset}.semantics", module.SEMANTICS)
    folder = Path("data", args.dataset)
    built = module.semantics(folder / "raw", choice)
    semantics.write(folder / "semantics.npz", built)
    files.write_csv(folder / "columns.csv", built.taken, ("column", "taken", "attributes"))
    rows, columns = built.attributes.shape
    print(f"semantics {args.dataset}: {choice}, {rows} classes x {columns}", flush=True)


if __name__ == "__main__":
    main()
