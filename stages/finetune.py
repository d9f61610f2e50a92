"""Train a data set's backbone on trainval images of seen classes; with `epochs: 0` it stays as it is."""

import shutil
from pathlib import Path
from typing import Literal

from pipeline.common import arguments, files, machine, params, training
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.datasets import index
from pipeline.sources import archives
from pipeline.vision import backbone, finetune, images


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset")
    given = params.load()
    config = given.layered("finetune", f"{args.dataset}.finetune", finetune.Config)
    network = backbone.config(given, args.dataset)
    on_bad_image = given.section("features.on_bad_image", Literal["fail", "zero"])
    most = given.section("features.most_pixels", images.Pixels)
    run = given.section("run", machine.Run)

    label, folder = f"finetune {args.dataset}", Path(f"data/{args.dataset}")
    start, end = folder / "weights.safetensors", folder / "backbone.safetensors"
    # published features, and those of a file, have no backbone: its file is empty
    if not config.epochs or not backbone.held(start):
        with open(start, "rb") as file, files.replacing(end) as out:
            shutil.copyfileobj(file, out)
        files.write_csv(folder / "finetune.csv", [], finetune.COLUMNS)
        print(f"{label}: the backbone stays as it is", flush=True)
        return
    device = machine.start(run)
    print(f"{label}: on {machine.describe(device)}, {config.precision}", flush=True)
    model = backbone.load(start, network)
    view = backbone.view(model, network)
    reader = archives.Images(folder / "raw")
    data = finetune.seen(index.read(folder / "index.csv"), config.spare_folds)
    listed = folder / "undecodable.csv"
    data = finetune.without_bad(data, view, reader, on_bad_image, most, run.decoders, label, listed)
    key = [config, network, files.digest(start), files.digest(folder / "index.csv")]
    checkpoint = training.Checkpoint(f"checkpoints/{args.dataset}/finetune.pt", key, run.checkpoint_minutes)
    tuner = finetune.Tuner(model, view, data, reader, config, device, run.decoders)
    rows = finetune.tune(tuner, label, checkpoint)
    backbone.save(end, model, network.arch)
    files.write_csv(folder / "finetune.csv", rows)
    checkpoint.remove()


if __name__ == "__main__":
    main()
