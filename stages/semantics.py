"""Write a data set's class semantics: data/<data set>/semantics.npz."""

from pathlib import Path

from pipeline import arguments, datasets, params, semantics
from pipeline.errors import one_line
from pipeline.record import recorded


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset")
    module = datasets.get(args.dataset)
    choice = params.load().section(f"{args.dataset}.semantics", module.SEMANTICS)
    folder = Path("data", args.dataset)
    built = module.semantics(folder / "raw", choice)
    semantics.write(folder / "semantics.npz", built)
    rows, columns = built.attributes.shape
    print(f"semantics {args.dataset}: {choice}, {rows} classes x {columns}", flush=True)


if __name__ == "__main__":
    main()
