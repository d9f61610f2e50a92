"""All that only a GPU can show, in steps: python -m benchmarks.gpu [features hsva bsegn train] [--out gpu.json]

    features     features computed on the GPU against the processor's; images/s of decoding, forward and stage; memory
    hsva, bsegn  a model's training step replayed as a graph, not captured, as a plain loop, and on the processor:
                 losses, milliseconds, shares of the memory's bandwidth and of what products come to
    train        the whole schedules of params.yaml on what lies in data/<data set>/, all seeds of a model and data set
                 at once

Each step is written into one JSON as soon as it is there, beside what earlier calls left. Without names all steps are
done in this order. After --minutes no further one begins: a training stops at a checkpoint, and the same command goes
on with it; another step is ended, and is to be asked for again. On a machine without a GPU, `--device cpu --small`
tries all of it out, under other names in the JSON.
"""

import argparse
import dataclasses
import math

from benchmarks.gpu import extraction, schedules, steps
from benchmarks.gpu.processes import Failed, now, together
from benchmarks.gpu.results import Results
from pipeline.common import machine, params
from pipeline.common.errors import UserError, one_line
from pipeline.study import trainings
from pipeline.study.run import told as interruptible

STEPS = ("features", "hsva", "bsegn", "train")


def parse(words=None):
    """The command line."""
    form = argparse.RawDescriptionHelpFormatter
    head, _, rest = __doc__.partition(": ")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=head, epilog=rest.partition("\n\n")[2], formatter_class=form
    )
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(STEPS)}; by default all")
    parser.add_argument("--out", default="gpu.json", help="the JSON that all calls fill; by default gpu.json")
    parser.add_argument("--minutes", type=float, default=9, help="that the call may take; by default 9")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu to try it out; by default cuda")
    parser.add_argument("--small", action="store_true", help="sizes and schedules that take seconds and show nothing")
    parser.add_argument("--arch", help=f"of timm, for features; by default {extraction.Sizes.arch}")
    parser.add_argument("--images", type=int, help=f"that are timed; by default {extraction.Sizes.images}")
    group = parser.add_argument_group("train")
    group.add_argument("--models", nargs="+", choices=schedules.MODELS, default=schedules.MODELS)
    group.add_argument("--datasets", nargs="+", choices=params.DATASETS, default=["cub", "flo"])
    group.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    group.add_argument("--checks", type=int, help="looks at a training; by default selection.checks of params.yaml")
    group.add_argument(
        "-S", "--set", action="append", default=[], metavar="KEY=VALUE", help="of the model's section of params.yaml"
    )
    args = parser.parse_args(words)
    if unknown := [step for step in args.steps if step not in STEPS]:
        parser.error(f"{unknown[0]!r} is none of the steps {', '.join(STEPS)}")
    return args


def usable(name):
    """The torch device. Raises UserError where there is none of this name."""
    try:
        return machine.device(name)
    except UserError as error:
        reason = str(error).partition("here ")[2].partition("; auto")[0] or str(error)
        tried = "run this where there is one, or try its parts out by --device cpu --small"
        raise UserError(f"--device {name}: no GPU can be used here {reason}; {tried}") from None


def marks(args, *more):
    """What a step's name in the JSON says beside its own: that it is no measurement, and what was chosen."""
    return [*more, *(["small"] if args.small else []), *(["on the processor"] if args.device == "cpu" else [])]


def measure(step, args, results, until):
    """Do one of the first three steps in a process of its own; whether it came to its end."""
    if step == "features":
        chosen = {"arch": args.arch, "images": args.images}
        sizes = extraction.SMALL if args.small else extraction.Sizes()
        sizes = dataclasses.replace(sizes, **{name: value for name, value in chosen.items() if value})
        work = extraction.run, args.device, sizes
    else:
        work = steps.run, step, args.device, steps.SMALL[step] if args.small else steps.Sizes()
    name = ", ".join([step, *marks(args)])
    print(f"{name}:", flush=True)
    found = together({name: work}, until + schedules.GRACE)[name]
    if isinstance(found, Failed):
        _fail(results, {name: found}, name)
        return False
    results.keep(name, found)
    return True


def trainings_of(args):
    """{name in the JSON: (a `Training` a seed, their `machine.Run`)} of all models and data sets that are asked for
    and there. Raises UserError where the arguments or params.yaml are not as they should be."""
    if args.checks is not None and args.checks < 1:
        raise UserError(f"--checks {args.checks}: should be at least 1")
    given = params.load()
    settings = [*([schedules.SMALL] if args.small else []), *args.set]
    checks = [] if args.checks is None else [f"{args.checks} checks"]
    found = {}
    for dataset in filter(_there, args.datasets):
        for model in args.models:
            todo, run = schedules.wanted(given, model, dataset, args.seeds, settings, args.checks)
            threads = run.threads or max(1, machine.available_cores() // len(args.seeds))
            name = ", ".join([f"train {model} {dataset}", *marks(args, *args.set, *checks)])
            found[name] = todo, dataclasses.replace(run, device=args.device, threads=threads)
    return found


def train(asked, results, until):
    """Do the trainings of `trainings_of`, those of one model and data set after the other; whether none failed."""
    well = True
    for name, (todo, run) in asked.items():
        if _over(until, name):
            continue
        if failed := schedules.part(todo, run, results, name, until):
            _fail(results, {f"{name}, seed {seed}": why for seed, why in failed.items()}, name)
            well = False
    return well


def _there(dataset):
    try:
        trainings.benchmark(dataset)
    except UserError as error:
        print(f"train: {dataset} is left out: {error}", flush=True)
        return False
    return True


def _fail(results, failed, name):
    """Say what failed and why, and keep it as the failure of a step."""
    told = "\n".join(f"{what}: failed: {found.why}\n{found.trace}".rstrip() for what, found in failed.items())
    print(told, flush=True)
    results.fail(name, told)


def _over(until, name):
    if over := now() >= until:
        print(f"{name}: left for another call, for the time is over", flush=True)
    return over


@one_line
def main(words=None):
    args = parse(words)
    if not 0 < args.minutes < math.inf:
        raise UserError(f"--minutes {args.minutes}: should be a number above 0")
    until = now() + 60 * args.minutes
    chosen, todo = usable(args.device), args.steps or STEPS
    args.device = str(chosen)
    results = Results(args.out, machine.describe(chosen))
    # what is wrong with it is told before the first step takes minutes
    asked = trainings_of(args) if "train" in todo else {}
    failed = []
    with interruptible():
        for step in todo:
            if step == "train":
                well = train(asked, results, until)
            else:
                well = _over(until, step) or measure(step, args, results, until)
            failed += [] if well else [step]
    print(f"what there is now is in {args.out}")
    if failed:
        raise UserError(f"{', '.join(failed)}: failed; the reasons are above and in {args.out}, all else is done")


if __name__ == "__main__":
    main()
