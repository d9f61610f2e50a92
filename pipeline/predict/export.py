"""Export trained runs, one folder each, for `pipeline.predict --model FOLDER`: python -m pipeline.predict.export

A folder holds safetensors and JSON alone, and a model card. Prediction from it takes neither DVC nor any data set.
"""

import argparse
from pathlib import Path

from pipeline.common import files, params
from pipeline.common.errors import one_line
from pipeline.predict import bundle

CARD = """# {model} on {dataset}

A zero-shot classifier of photographs: {seen} classes that it saw images of, {unseen} that it knows by their
{attributes} attributes alone (semantics: {semantics}), and any further class that you describe by its attributes.

| file | content |
|---|---|
| backbone.safetensors | weights of {arch} without a head, which turns a photograph into {width} features |
| model.safetensors | {model}, its linear classifiers, class semantics, and the classifier's inputs for seen classes |
| bundle.json | names of classes and attributes, all settings, figures |

## Use

With the code of the project that made it (the folder `pipeline/`, on the path) and its packages:

```
python -m pipeline.predict --model FOLDER photo.jpg
python -m pipeline.predict --model FOLDER --classes new_classes.csv photo.jpg
```

new_classes.csv has a column class_name and one column an attribute, named as in bundle.json; rows are scaled to length
one. With new classes the linear classifier is trained anew, which takes seconds to minutes.

## Accuracy

{figures}

Percent, on the data set's test images, means over classes, seed {seed}. T1: among unseen classes alone; U and S: unseen
and seen classes among all; H: their harmonic mean. Epoch {epoch}, chosen on validation classes that took no part in
training; the test images were looked at once.

## Limits

- Classes that it saw win too often over those that it did not (compare U with T1); `--calibrated` evens that out by a
  constant chosen on validation, `--among unseen` leaves seen classes out.
- Probabilities are a softmax of the classifier's scores. They are not calibrated, and an object of no known class gets
  a class all the same.
- The attributes shown for a class are read off the image by a linear regression: they describe what the classifier
  reads, they do not prove why it decides.
- `inputs` in model.safetensors are derived from training images of seen classes. The terms of the data set apply to
  this folder, and those of the backbone's weights.
"""


def card(about):
    """The model card of a bundle, in Markdown."""
    names = list(about.figures)
    rows = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    rows.append("| " + " | ".join(f"{about.figures[name]:.1f}" for name in names) + " |")
    return CARD.format(
        model=about.model,
        dataset=about.dataset,
        seed=about.seed,
        epoch=about.epoch,
        seen=len(about.seen),
        unseen=len(about.unseen),
        attributes=len(about.attributes) or "",
        semantics=about.semantics or "not known",
        arch=about.network.arch,
        width=about.width,
        figures="\n".join(rows),
    )


def export(dataset, seed, folder):
    """Write one run's folder."""
    kept = bundle.of_run(dataset, seed)
    bundle.save(kept, folder)
    with files.replacing(folder / "README.md", "w") as file:
        file.write(card(kept.about))


@one_line
def main():
    parser = argparse.ArgumentParser(prog="python -m pipeline.predict.export", description=__doc__.split("\n\n")[0])
    parser.add_argument("--dataset", choices=params.DATASETS, help="one data set; all of params.yaml")
    parser.add_argument("--seed", type=int, help="its seed; the first of params.yaml")
    parser.add_argument("--out", default="export", help="where the folders go")
    args = parser.parse_args()
    given = params.load()
    seed = given.section("seeds", list[int])[0] if args.seed is None else args.seed
    for dataset in [args.dataset] if args.dataset else given.section("datasets", list[params.Dataset]):
        folder = Path(args.out) / f"{dataset}-{seed}"
        export(dataset, seed, folder)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        print(f"export {dataset}, seed {seed}: {size:.1f} MB in {folder}", flush=True)
        print(f"to use it: python -m pipeline.predict --model {folder} photo.jpg", flush=True)


if __name__ == "__main__":
    main()
