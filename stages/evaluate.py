"""Look at the test images of one data set and seed, once."""

from pipeline.common import arguments, params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.protocol import evaluation, judging, metrics, selection, setting, tasks, trained


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset", "seed")
    given = params.load()
    how = given.section("selection", selection.Selection)
    wanted = given.section("evaluation", evaluation.Evaluation)
    our = setting.read(given, args.dataset, args.seed)

    task = tasks.test_task(our.benchmark, our.device, learn=wanted.oracle)
    chosen = setting.chosen(our.out / "selected.json")
    kept = trained.read(our.out / "model.safetensors").of(our.model, our.config)
    judged = judging.predictions(task, *kept.restore(task), top=evaluation.TOP)
    constant = chosen["constant"] if wanted.calibrated else None
    figures = metrics.summary(judged, constant)
    # without an unseen class on a photograph there is nothing to pick by
    if wanted.oracle and "H" in figures:
        label = our.label("oracle")
        figures["oracle"] = evaluation.oracle(task, our.module, our.config, how.checks, our.seed, label)
    evaluation.write(our.out, our.benchmark, task, judged, {"model": our.model} | figures)
    shown = "  ".join(f"{name} {figures[name]:.1f}" for name in metrics.FIGURES if name in figures)
    print(f"{our.label('evaluate')}: {shown}", flush=True)


if __name__ == "__main__":
    main()
