"""Train on all of trainval for the epochs that validation chose."""

from pipeline.common import arguments, files, machine, params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.protocol import setting, tasks, trained


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset", "seed")
    our = setting.read(params.load(), args.dataset, args.seed)

    chosen = setting.chosen(our.out / "selected.json")
    label = our.label("train")
    print(f"{label}: {chosen['epoch']} epochs on {machine.describe(our.device)}", flush=True)
    checkpoint = our.checkpoint("train", chosen)
    task = tasks.test_task(our.benchmark, our.device)
    tensors, history = trained.train(task, our.module, our.config, chosen, our.seed, label, checkpoint)
    files.write_csv(our.out / "history.csv", history)
    trained.write(our.out / "model.safetensors", our.model, our.config, tensors)
    checkpoint.remove()


if __name__ == "__main__":
    main()
