"""Train on all of trainval for the epochs that validation chose."""

import dataclasses
import json
from pathlib import Path

from safetensors.torch import save

from pipeline import arguments, data, files, machine, models, params, protocol, training
from pipeline.errors import one_line
from pipeline.record import recorded


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset", "seed")
    given = params.load()
    model, module, config = models.configured(given, args.dataset)
    run = given.section("run", machine.Run)

    out = Path(f"runs/{args.dataset}/{args.seed}")
    device = machine.start(run)
    benchmark = data.load(f"data/{args.dataset}")
    chosen = files.read_json(out / "selected.json")
    label = f"train {model}, {args.dataset}, seed {args.seed}"
    print(f"{label}: {chosen['epoch']} epochs on {machine.describe(device)}", flush=True)
    key = [model, config, chosen, args.seed, data.fingerprint(benchmark), device.type]
    checkpoint = training.Checkpoint(f"checkpoints/{args.dataset}-{args.seed}/train.pt", key, run.checkpoint_minutes)
    task = data.test_task(benchmark, device)
    tensors, history = protocol.train(task, module, config, chosen, args.seed, label, checkpoint)
    files.write_csv(out / "history.csv", history)
    with files.replacing(out / "model.safetensors") as file:
        # with its config the file says all that rebuilding the model takes, whatever params.yaml says by then
        file.write(save(tensors, {"model": model, "config": json.dumps(dataclasses.asdict(config))}))
    checkpoint.remove()


if __name__ == "__main__":
    main()
