"""Write a data set's index.csv: every image with its class, its part of the published split and of validation."""

from pathlib import Path

from pipeline.common import arguments, params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.datasets import index, splits
from pipeline.datasets.base import registry as datasets


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset")
    module = datasets.get(args.dataset)
    config = params.load().section(f"{args.dataset}.splits", module.SplitConfig)
    folder = Path("data", args.dataset)
    built = splits.build(module.listing(folder / "raw"), module.splits(folder / "raw", config), config)
    index.write(folder / "index.csv", built)
    print(f"splits {args.dataset}: {splits.describe(built)}", flush=True)


if __name__ == "__main__":
    main()
