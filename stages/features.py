"""Extract the features of one data set's images with its backbone, or take the published ones, or those of a file."""

from pathlib import Path

from pipeline.common import arguments, files, machine, params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.datasets import own
from pipeline.datasets.base import registry as datasets
from pipeline.sources import archives
from pipeline.vision import backbone, feature_file, features


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
    file, label = own.read(args.dataset, "features"), f"features {args.dataset}"
    if file.path or config.source == "published":
        if features.worker().rank:
            return
        if file.path:
            feature_file.build(file.path, own.listing(module, raw, file), target, label)
        else:
            files.write_npy(target, module.published(raw))
        files.write_csv(undecodable, [], features.UNDECODABLE)
        return
    weights = folder / "backbone.safetensors"
    model = backbone.load(weights, network)
    view = backbone.view(model, network)
    shards = Path(f"data/.shards/{args.dataset}")
    reader = archives.Images(raw)
    parts = raw, own.listing(module, raw, file), reader, config, run, target, shards, label
    bad = features.build(model, weights, view, *parts)
    if bad is not None:
        files.write_csv(undecodable, bad, features.UNDECODABLE)


if __name__ == "__main__":
    main()
