"""Where a data set's backbone begins: published weights, a file of yours, or random ones."""

from pathlib import Path
from typing import Literal

from pipeline.common import arguments, params, tensorfile
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.vision import backbone, weights


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset")
    given = params.load()
    source = given.section("features.source", Literal["images", "published"])
    network = backbone.config(given, args.dataset)
    store = given.section("run.archives", str)

    target = Path(f"data/{args.dataset}/weights.safetensors")
    if source == "published" or given.section(f"{args.dataset}.files.features", str) != params.NO_FILE:
        tensorfile.write(target, {}, {"arch": "none, the features are published or a file's"})
        return
    print(f"weights {args.dataset}: {network.arch}", flush=True)
    backbone.save(target, weights.start(network.weights, network, store), network.arch)


if __name__ == "__main__":
    main()
