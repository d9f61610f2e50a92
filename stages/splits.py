"""Write a data set's index.csv: every image with its class, its part of the split and of validation."""

from pathlib import Path

from pipeline.common import arguments, params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.datasets import index, own, split_file, splits
from pipeline.datasets.base import registry as datasets
from pipeline.datasets.own import rows


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset")
    module = datasets.get(args.dataset)
    config = params.load().section(f"{args.dataset}.splits", module.SplitConfig)
    folder, file = Path("data", args.dataset), own.read(args.dataset, "splits")
    told = rows.told(module, folder / "raw", file)
    built, words = split_file.build(module, folder / "raw", config, file.path, told)
    index.write(folder / "index.csv", built)
    words = f" of {file.path}: {words}\n " if file.path else ""
    print(f"splits {args.dataset}:{words} {splits.describe(built)}", flush=True)


if __name__ == "__main__":
    main()
