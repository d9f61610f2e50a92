"""Train on all of trainval for the epochs that validation chose."""

from pipeline.common import arguments, machine, params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.protocol import setting, store, trained


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset", "seed")
    our = setting.read(params.load(), args.dataset, args.seed)

    chosen = setting.chosen(our.out / "selected.json")
    label = our.label("train")
    print(f"{label}: {chosen['epoch']} epochs on {machine.describe(our.device)}", flush=True)
    entry = our.training(chosen)
    _, there = entry.made(lambda folder: trained.leave(our, chosen, label, folder))
    entry.copy(our.out)
    our.forget(entry)
    if there:
        print(f"{label}: done{store.TAKEN.format(entry.folder)}", flush=True)


if __name__ == "__main__":
    main()
