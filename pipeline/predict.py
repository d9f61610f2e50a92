"""Name the class of photographs, by a trained run or an exported folder: python -m pipeline.predict PHOTO...

A PHOTO is an image file, a folder of them, or - for paths on standard input. Results come as they are ready.
Classes that did not exist at training are given as rows of attributes, --classes FILE.csv: a column class_name and one
column an attribute. The model synthesises features for them, and its linear classifier is trained anew.
"""

import argparse
import csv
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline import backbone, bundle, classifier, features, files, images, machine, params
from pipeline.errors import UserError, one_line

BATCH = 64
ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".jp2", ".tga"}
SPEAKING = 3


@dataclass(frozen=True)
class Candidates:
    """Classes to choose among: C names, their kinds (seen, unseen or new) and C x d_a semantics."""

    names: list[str]
    kinds: list[str]
    semantics: torch.Tensor


@dataclass(frozen=True)
class Guess:
    """A class for an image: name, kind, probability, and the attributes that speak for it with their weights."""

    name: str
    kind: str
    probability: float
    attributes: list[tuple[str, float]]


def template(kept):
    """A CSV with the columns that new classes need and one class as an example."""
    about, row = kept.about, kept.tensors["seen"][0].tolist()
    names = about.attributes or [f"attribute {i + 1}" for i in range(len(row))]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [["class_name", *names], [f"like {about.seen[0]}", *(f"{v:.4g}" for v in row)]]
    )
    return text.getvalue()


def read_classes(path, about):
    """New classes from a CSV: (names, U' x d_a float32 rows of length one). Raises UserError."""
    try:
        header, lines = files.read_table(Path(path).read_bytes(), path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    # class: as the table of one's own photographs calls it
    header = ["class_name" if name == "class" else name for name in header]
    if not lines or "class_name" not in header:
        raise UserError(f"{path}: should have a column class_name, one column an attribute, and a row a class")
    rows = [dict(zip(header, cells, strict=True)) for _, cells in lines]
    given = [name for name in header if name != "class_name"]
    wanted = [files.plain(name) for name in about.attributes] or given
    missing, unknown = [n for n in wanted if n not in given], [n for n in given if n not in wanted]
    if missing or unknown:
        counts = [(f"lacks {len(missing)} columns, such as", missing), ("has no use for", unknown)]
        words = " and ".join(f"{text} {', '.join(names[:3])}" for text, names in counts if names)
        raise UserError(
            f"{path}: {words}; its columns should be the {len(wanted)} attributes of {about.dataset}, as --template"
            " prints them"
        )
    names = [row["class_name"] for row in rows]
    known = {*about.seen, *about.unseen}
    for i, name in enumerate(names):
        if not name or name in known or name in names[:i]:
            raise UserError(f"{path}: row {i + 1}: class '{name}' should have a name that no other class has")
    try:
        values = np.array([[float(row[name]) for name in wanted] for row in rows], dtype=np.float64)
    except ValueError as error:
        raise UserError(f"{path}: every attribute should be a number ({error})") from None
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    for name, length in zip(names, lengths[:, 0], strict=True):
        if not 0 < length < np.inf:
            raise UserError(f"{path}: the attributes of '{name}' should be finite and not all zero")
    return names, torch.from_numpy(values / lengths).float()


class Predictor:
    """Features -> guesses. `new`: names and semantics of new classes; among: all, unseen (with new ones) or new."""

    def __init__(self, kept, device, new=None, among="all", calibrated=False):
        about, tensors = kept.about, {name: tensor.to(device) for name, tensor in kept.tensors.items()}
        new_names, new_semantics = new or ([], tensors["seen"][:0].cpu())
        if new_names and new_semantics.shape[1] != tensors["seen"].shape[1]:
            raise UserError(
                f"new classes have {new_semantics.shape[1]} attributes, {about.dataset} has {tensors['seen'].shape[1]}"
            )
        if among == "new" and not new_names:
            raise UserError("--among new: needs --classes, a CSV of new classes")
        keep_unseen = among != "new"
        unseen = torch.cat([tensors["unseen"][: None if keep_unseen else 0], new_semantics.to(device)])
        kinds = ["unseen"] * (len(about.unseen) if keep_unseen else 0) + ["new"] * len(new_names)
        names = (about.unseen if keep_unseen else []) + new_names
        self.kept, self.device, self.tensors = kept, device, tensors
        self.model = kept.model(device, unseen)
        self.head = self._head(unseen, among == "all", bool(new_names))
        if among == "all":
            kinds, names = ["seen"] * len(about.seen) + kinds, about.seen + names
            unseen = torch.cat([tensors["seen"], unseen])
        self.candidates = Candidates(names, kinds, unseen)
        is_seen = torch.tensor([kind == "seen" for kind in kinds], device=device)
        self.handicap = about.constant * is_seen if calibrated else torch.zeros(len(kinds), device=device)

    def _head(self, unseen, with_seen, changed):
        """The linear classifier: as trained, or trained anew for other unseen classes."""
        about, tensors, count = self.kept.about, self.tensors, len(self.kept.about.seen)
        if not changed:
            name = "gzsl" if with_seen else "czsl"
            return classifier.Head(tensors[f"{name}.weight"], tensors[f"{name}.bias"])
        made = bundle.synthesised(self.kept, self.model, unseen, about.seed)
        if made is None:
            weight = torch.cat([tensors["seen"], unseen]) if with_seen else unseen
            return classifier.Head(weight, weight.new_zeros(len(weight)))
        inputs, labels = made
        epochs = about.gzsl_epoch if with_seen else about.czsl_epoch
        if with_seen:
            inputs, labels = torch.cat([tensors["inputs"].float(), inputs]), torch.cat([tensors["labels"], labels])
        else:
            labels = labels - count
        total = len(unseen) + count * with_seen
        with torch.no_grad():
            *_, head = classifier.epochs(
                inputs, labels, total, self.kept.config.classifier, about.seed, epochs, self.model.expand
            )
        return head

    @torch.no_grad()
    def __call__(self, extracted, top):
        """M x d_x features -> a list of the `top` guesses for each, the most probable first."""
        inputs = self.model.encode(extracted.to(self.device))
        scores = classifier.scores(self.head, inputs, self.model.expand) - self.handicap
        probabilities, order = (scores / self.tensors["temperature"]).softmax(1).topk(min(top, scores.shape[1]))
        read = (inputs - self.tensors["reading.centre"]) @ self.tensors["reading.weight"].T
        semantics = self.candidates.semantics
        # what the image has more of than the average, weighted by how much more of it the class has
        speaks = read.clamp_min(0)[:, None, :] * (semantics - semantics.mean(0)).clamp_min(0)[order]
        return [
            [self._guess(*of_class) for of_class in zip(*of_image, strict=True)]
            for of_image in zip(probabilities.tolist(), order.tolist(), speaks.cpu(), strict=True)
        ]

    def _guess(self, probability, at, speaks):
        names = self.kept.about.attributes
        weights, order = speaks.topk(min(SPEAKING, len(names)))
        attributes = [(names[i], w) for i, w in zip(order.tolist(), weights.tolist(), strict=True) if w > 0]
        return Guess(self.candidates.names[at], self.candidates.kinds[at], probability, attributes)


class Photographs:
    """Image files by number, decoded when asked for, as `images.Shards` reads them."""

    def __init__(self, paths, least=None):
        self.paths, self.least = paths, least

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        """The upright RGB image. Raises BadImage."""
        try:
            data = Path(self.paths[i]).read_bytes()
        except OSError as error:
            raise images.BadImage(error.strerror or str(error)) from None
        return images.decode(data, least=self.least)


def listed(arguments, stream=sys.stdin):
    """Paths of all photographs that the command line names: files, folders, - for a list on standard input."""
    paths = []
    for argument in arguments:
        if argument == "-":
            paths += [line.rstrip("\n") for line in stream if line.strip()]
        elif Path(argument).is_dir():
            inside = sorted(p for p in Path(argument).rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
            if not inside:
                raise UserError(f"{argument}: the folder holds no photographs ({', '.join(sorted(ENDINGS))})")
            paths += map(str, inside)
        else:
            paths.append(argument)
    if not paths:
        raise UserError("no photographs: name image files, folders, or - for paths on standard input")
    return paths


def stream(kept, predictor, paths, top, workers):
    """Yield (path, guesses, None) or (path, None, reason) for every photograph, in order, as batches are ready."""
    network = backbone.load(kept.weights, kept.about.network)
    view = backbone.view(network, kept.about.network)
    network = features.Network(network, view, kept.about.extraction, predictor.device)
    least = view.enough if kept.about.extraction.decode == "reduced" else None
    shards = images.Shards(Photographs(paths, least), view, BATCH)
    for shard, pixels, bad in images.decoded(shards, range(len(shards)), workers, predictor.device.type != "cpu"):
        reasons = dict(map(tuple, bad))
        guesses = predictor(network.forward(pixels).clone(), top)
        for row, of_image in zip(shards.rows(shard), guesses, strict=True):
            yield paths[row], None if row in reasons else of_image, reasons.get(row)


def show(path, guesses):
    """Guesses as lines that a person reads."""
    lines = [path]
    for guess in guesses:
        words = ", ".join(name for name, _ in guess.attributes)
        lines.append(f"  {100 * guess.probability:5.1f} %  {guess.name} ({guess.kind}){'  ' + words if words else ''}")
    return "\n".join(lines)


def as_json(path, guesses, reason):
    """One line of JSON."""
    if reason is not None:
        return json.dumps({"photo": path, "error": reason}, ensure_ascii=False)
    classes = [
        {"class": guess.name, "kind": guess.kind, "probability": round(guess.probability, 6)}
        | {"attributes": {name: round(weight, 6) for name, weight in guess.attributes}}
        for guess in guesses
    ]
    return json.dumps({"photo": path, "classes": classes}, ensure_ascii=False)


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
    paths = [] if args.template else listed(args.photos)
    kept = chosen(args.model, args.dataset, args.seed)
    if args.template:
        print(template(kept), end="")
        return
    device = machine.device(args.device)
    new = read_classes(args.classes, kept.about) if args.classes else None
    predictor = Predictor(kept, device, new, args.among, args.calibrated)
    workers = machine.available_cores() if args.workers is None else args.workers
    failed = 0
    for path, guesses, reason in stream(kept, predictor, paths, args.top, workers):
        failed += reason is not None
        if args.json:
            print(as_json(path, guesses, reason), flush=True)
        elif reason is None:
            print(show(path, guesses), flush=True)
        if reason is not None:
            print(f"error: {path}: cannot be decoded: {reason}", file=sys.stderr, flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
