"""Look at the test images of one data set and seed, once."""

from pathlib import Path

from safetensors.torch import load_file

from pipeline import arguments, data, evaluation, files, machine, metrics, models, params, protocol
from pipeline.errors import one_line
from pipeline.record import recorded


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset", "seed")
    given = params.load()
    model, module, config = models.configured(given, args.dataset)
    selection = given.section("selection", protocol.Selection)
    wanted = given.section("evaluation", protocol.Evaluation)
    run = given.section("run", machine.Run)

    out = Path(f"runs/{args.dataset}/{args.seed}")
    benchmark = data.load(f"data/{args.dataset}")
    task = data.test_task(benchmark, machine.start(run))
    chosen = files.read_json(out / "selected.json")
    trained = protocol.restore(task, module, config, load_file(out / "model.safetensors"))
    over_all, over_unseen = protocol.scores(task, *trained)
    constant = chosen["constant"] if wanted.calibrated else None
    figures = metrics.summary(over_all, over_unseen, task.labels, task.seen_mask, constant)
    # without an unseen class on a photograph there is nothing to pick by
    if wanted.oracle and "H" in figures:
        label = f"oracle {model}, {args.dataset}, seed {args.seed}"
        figures["oracle"] = protocol.oracle(task, module, config, selection.checks, args.seed, label)
    evaluation.write(out, benchmark, task, over_all, over_unseen, {"model": model} | figures)
    shown = "  ".join(f"{name} {figures[name]:.1f}" for name in protocol.FIGURES if name in figures)
    print(f"evaluate {model}, {args.dataset}, seed {args.seed}: {shown}", flush=True)


if __name__ == "__main__":
    main()
