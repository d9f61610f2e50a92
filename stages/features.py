"""Extract the features of one data set's images with its backbone, or take the published ones."""

from pathlib import Path

from pipeline.common import arguments, files, machine, params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.datasets.base import registry as datasets
from pipeline.sources import archives
from pipeline.vision import backbone, features


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset")
    given = params.load()
    config = given.section("features", features.Config)
    network = backbone.config(given, args.dataset)
    run = given.section("run", machine.Run)

    folder, raw = Path(f"data/{args.dataset}"), Path(f"data/{args.dataset}/raw")
    target = folder / "features.npy"
    module = datasets.get(args.dataset)
    undecodable = folder / "undecodable.csv"
    if config.source == "published":
        files.write_npy(target, module.published(raw))
        files.write_csv(undecodable, [], features.UNDECODABLE)
        return
    weights = folder / "backbone.safetensors"
    model = backbone.load(weights, network)
    view = backbone.view(model, network)
    shards = Path(f"data/.shards/{args.dataset}")
    reader = archives.Images(raw)
    label = f"features {args.dataset}"
    parts = raw, module.listing(raw), reader, config, run, target, shards, label
    bad = features.build(model, weights, view, *parts)
    if bad is not None:
        files.write_csv(undecodable, bad, features.UNDECODABLE)


if __name__ == "__main__":
    main()
