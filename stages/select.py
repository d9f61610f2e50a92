"""Choose the epochs of one data set and seed on its validation classes."""

from pathlib import Path

from pipeline import arguments, data, files, machine, models, params, protocol, training
from pipeline.errors import one_line
from pipeline.record import recorded


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset", "seed")
    given = params.load()
    model, module, config = models.configured(given, args.dataset)
    selection = given.section("selection", protocol.Selection)
    run = given.section("run", machine.Run)

    device = machine.start(run)
    benchmark = data.load(f"data/{args.dataset}")
    label = f"select {model}, {args.dataset}, seed {args.seed}"
    print(f"{label}: on {machine.describe(device)}", flush=True)
    kept = Path(f"checkpoints/{args.dataset}-{args.seed}")
    key = [model, config, selection, args.seed, data.fingerprint(benchmark), device.type]

    def checkpoint(fold):
        return training.Checkpoint(kept / f"select-{fold}.pt", key, run.checkpoint_minutes)

    chosen, rows = protocol.select(benchmark, module, config, selection, args.seed, device, label, checkpoint)
    out = Path(f"runs/{args.dataset}/{args.seed}")
    files.write_csv(out / "selection.csv", rows)
    files.write_json(out / "selected.json", {"model": model} | chosen)
    for fold in range(selection.folds):
        checkpoint(fold).remove()
    print(f"{label}: epoch {chosen['epoch']}, where H on validation is {chosen['validation']['H']:.1f}", flush=True)


if __name__ == "__main__":
    main()
