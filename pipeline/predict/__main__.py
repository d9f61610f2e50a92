"""Name the class of photographs, by a trained run or an exported folder: python -m pipeline.predict PHOTO...

A PHOTO is an image file, a folder of them, or - for paths on standard input. Results come as they are ready.
Classes that did not exist at training are given as rows of attributes, --classes FILE.csv: a column class_name and one
column an attribute. The model synthesises features for them, and its linear classifier is trained anew.
"""

import argparse
import json
import sys

from pipeline.common import machine, params
from pipeline.common.errors import one_line
from pipeline.predict import bundle, classes, explain, photographs
from pipeline.predict.predictor import Predictor
from pipeline.vision import evidence


def show(path, guesses):
    """Guesses as lines that a person reads."""
    lines = [path]
    for guess in guesses:
        words = ", ".join(name for name, _ in guess.attributes)
        lines.append(f"  {100 * guess.probability:5.1f} %  {guess.name} ({guess.kind}){'  ' + words if words else ''}")
    return "\n".join(lines)


def as_json(path, guesses, reason, boxes=None):
    """One line of JSON; boxes: of the first guess and of its attributes, where they were drawn."""
    if reason is not None:
        return json.dumps({"photo": path, "error": reason}, ensure_ascii=False)
    shown = [
        {"class": guess.name, "kind": guess.kind, "probability": round(guess.probability, 6)}
        | {"attributes": {name: round(weight, 6) for name, weight in guess.attributes}}
        for guess in guesses
    ]
    if boxes is not None:
        shown[0] |= {"box": boxes.pop(None), "attribute_boxes": boxes}
    return json.dumps({"photo": path, "classes": shown}, ensure_ascii=False)


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.predict", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "photos", nargs="*", metavar="PHOTO", help="an image, a folder of images, or - for a list on stdin"
    )
    parser.add_argument("--model", metavar="FOLDER", help="an exported folder; without it, a run of this project")
    parser.add_argument("--dataset", choices=params.DATASETS, help="of the run; the first of params.yaml")
    parser.add_argument("--seed", type=int, help="of the run; the first of params.yaml")
    parser.add_argument("--classes", metavar="CSV", help="new classes: a column class_name and one an attribute")
    parser.add_argument("--template", action="store_true", help="print a CSV to write new classes into, and stop")
    parser.add_argument("--among", choices=("all", "unseen", "new"), default="all", help="classes to choose among")
    parser.add_argument("--calibrated", action="store_true", help="take validation's constant off seen classes' scores")
    parser.add_argument("--top", type=int, default=5, help="classes shown for a photograph")
    parser.add_argument("--json", action="store_true", help="one line of JSON a photograph")
    parser.add_argument(
        "--explain", metavar="FOLDER", help="draw there what speaks on each photograph for its first guess, and where"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--workers", type=int, default=None, help="processes that decode; one a core")
    parsed = parser.parse_args()
    if parsed.top < 1:
        parser.error("--top: should be 1 or more")
    return parsed


def chosen(folder, dataset, seed):
    """The `Bundle` that the command line names."""
    if folder:
        return bundle.load(folder)
    given = params.load()
    dataset = dataset or given.section("datasets", list[params.Dataset])[0]
    return bundle.of_run(dataset, given.section("seeds", list[int])[0] if seed is None else seed)


@one_line
def main():
    args = arguments()
    # before the model is read, for a missing photograph is told at once
    paths = [] if args.template else photographs.listed(args.photos)
    if args.explain and not args.template:
        explain.Folder.begin(args.explain)
    kept = chosen(args.model, args.dataset, args.seed)
    if args.template:
        print(classes.template(kept), end="")
        return
    device = machine.device(args.device)
    new = classes.read_classes(args.classes, kept.about) if args.classes else None
    predictor = Predictor(kept, device, new, args.among, args.calibrated)
    workers = machine.available_cores() if args.workers is None else args.workers
    spatial = evidence.Spatial(photographs.network(kept, device)) if args.explain else None
    drawn = explain.Folder(args.explain, spatial, kept.about) if args.explain else None
    failed = 0
    for path, guesses, reason in photographs.stream(kept, predictor, paths, args.top, workers, spatial):
        failed += reason is not None
        boxes = drawn.add(path, guesses) if drawn and reason is None else None
        if args.json:
            print(as_json(path, guesses, reason, boxes), flush=True)
        elif reason is None:
            print(show(path, guesses), flush=True)
        if reason is not None:
            print(f"error: {path}: cannot be decoded: {reason}", file=sys.stderr, flush=True)
    if drawn:
        drawn.finish()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
