"""Variants of a model on one data set, under the protocol of the pipeline: python -m pipeline.study ablate hsva flo

Reads what `dvc repro` has made in data/<data set>/ and params.yaml, and trains each variant with each seed: epochs are
chosen on validation, the test images looked at once. Each row is appended to results/ablations/<data set>-<model>.jsonl
when it is made; rows that are there are not made again, so several of these can share the work.

    python -m pipeline.study ablate hsva flo -S epochs=24 --seeds 0 1 2
    python -m pipeline.study ablate bsegn cub --variant 'fem.weight=0.1 fem.temperature=0.03' --validation
"""

import argparse
import contextlib
import hashlib
import json
from pathlib import Path

import torch
import yaml
from torch.nn.functional import normalize

from pipeline.common import machine, params
from pipeline.common.errors import UserError
from pipeline.models.base import registry as models
from pipeline.models.base.rows import encoded
from pipeline.predict import bundle
from pipeline.protocol import judging, metrics, selection, tasks, trained
from pipeline.report.statistics import spread

# R as TF-VAEGAN's, one hidden layer deep, on every rung, so that each changes one thing
NO_MFIM = "cycle.depth=1 levels=0"
CYCLE = f"fem.training=none {NO_MFIM}"
FEM = f"fem.balance=none {NO_MFIM}"

VARIANTS = {
    "hsva": {
        "as configured": "",
        "without structure adaptation": "sad=false",
        "without W": "wasserstein=false",
        "without iCORAL": "icoral=false",
        "mean difference for SWD": "discrepancy=mcd",
        "standard reparameterisation": "reparameterization=standard",
        "latents as they are": "latents=raw",
        "latents standardised": "latents=standardised",
        "k = 16": "networks.latent=16",
        "k = 32": "networks.latent=32",
        "k = 128": "networks.latent=128",
        "k = 256": "networks.latent=256",
        "half the samples": "seen_samples=100 unseen_samples=200 czsl_samples=200",
        "twice the samples": "seen_samples=400 unseen_samples=800 czsl_samples=800",
    },
    # the ladder of the abstract's claims, then what leaves it
    "bsegn": {
        "VAEGAN": f"cycle.weight=0 {CYCLE}",
        "+ cycle": CYCLE,
        "+ FEM, v2s": f"{FEM} fem.s2v=false",
        "+ FEM, s2v": f"{FEM} fem.v2s=false",
        "+ FEM, both ways": FEM,
        "+ balance, domain mean": NO_MFIM,
        "+ balance, per sample": f"{NO_MFIM} fem.balance=per_sample",
        "+ mFIM, 1 level": "cycle.depth=1 levels=1",
        "+ mFIM, 1 level, R of two layers": "cycle.depth=2 levels=1",
        "+ mFIM, 2 levels": "cycle.depth=2 levels=2",
        "R learns from fakes": "cycle.fakes=true",
        "cycle on seen fakes alone": "cycle.unseen=false",
        "seen fakes encoded": "seen_latents=encoded",
        "seen fakes from the prior": "seen_latents=prior",
        "FEM frozen": "fem.training=frozen",
        "generator without FEM": "fem.weight=0",
        "FEM centred": "fem.centre=true",
        "FEM is the cycle branch": "fem.shared=true",
    },
    "eszsl": {"as configured": ""},
}
"""What each variant sets, over what params.yaml and -S say."""

SYMPTOMS = ("unseen_as_seen", "seen_confidence", "unseen_confidence")


def configured(given, model, dataset, *settings):
    """The model's Config with settings such as 'fem.weight=0.1 levels=1' laid over params.yaml; later ones win."""
    tree = given.laid(f"{model}.common", f"{model}.{dataset}")
    for setting in " ".join(settings).split():
        key, separator, value = setting.partition("=")
        *parents, last = key.split(".")
        node = tree
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not separator or not isinstance(node, dict) or last not in node:
            raise UserError(
                f"'{setting}': {model} has no such param; say KEY=VALUE, with a key of {model}.{dataset} in params.yaml"
            )
        try:
            node[last] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):
            raise UserError(f"'{setting}': '{value}' is not valid YAML; a list is written [1,2], no blanks") from None
    return params.build(models.get(model).Config, tree, f"{model}.{dataset} with {' '.join(settings)}")


@torch.no_grad()
def symptoms(task, model, head, seed):
    """What the BSeGN abstract complains of, measured alike for every model that synthesises, in percent.

    unseen_as_seen: share of synthesised unseen inputs that a linear embedding into the semantics, fitted on real images
    of seen classes alone, puts nearest to a seen class
    seen_confidence, unseen_confidence: mean over the judged images of seen (unseen) classes of the largest
    probability of a seen (unseen) class, under the classifier over all classes
    head: the classifier over all classes. Nothing for a model that synthesises nothing.
    """
    made = model.classifier_set(task.problem, seed, unseen_only=True)
    if made is None:
        return {}
    problem = task.problem
    semantics = problem.seen[problem.labels]
    weight, centre = bundle.reading(encoded(model, problem.features), semantics)
    embedded = normalize((made[0] - centre) @ weight.T + semantics.mean(0))
    taken = (embedded @ torch.cat([problem.seen, problem.unseen]).T).argmax(1)
    seen, of_seen = len(task.seen), task.seen_mask[task.labels]
    largest = []
    for scores in judging.blocks(task, model, head):
        likely = scores.softmax(1)
        largest.append(torch.stack([likely[:, :seen].amax(1), likely[:, seen:].amax(1)]).cpu())
    of_domain = torch.cat(largest, 1).numpy()
    confidences = of_domain[0][of_seen].mean(), of_domain[1][~of_seen].mean()
    shares = (taken < len(task.seen)).double().mean().item(), *map(float, confidences)
    return dict(zip(SYMPTOMS, (100 * share for share in shares), strict=True))


def run(benchmark, module, config, how, seed, device, label, tested):
    """One row: the figures on validation, and where `tested` those on the test images."""
    chosen, _ = selection.select(benchmark, module, config, how, seed, device, label)
    row = {"epoch": chosen["epoch"], "gzsl_epoch": chosen["gzsl_epoch"], "czsl_epoch": chosen["czsl_epoch"]}
    row |= {f"validation_{name}": chosen["validation"][name] for name in metrics.FIGURES}
    if not tested:
        return row
    task = tasks.test_task(benchmark, device)
    tensors, _ = trained.train(task, module, config, chosen, seed, label)
    model, gzsl, czsl = trained.restore(task, module, config, tensors)
    row |= metrics.summary(judging.predictions(task, model, gzsl, czsl), chosen["constant"])
    return row | symptoms(task, model, gzsl, seed)


def table(rows):
    """Markdown: mean and standard deviation over seeds of each variant's figures."""
    named = ["T1", "U", "S", "H", "AUSUC", "H_cal", *SYMPTOMS, "validation_T1", "validation_H"]
    columns = [name for name in named if any(name in row for row in rows)]
    yield f"| variant | {' | '.join(columns)} | seeds |"
    yield f"|---|{'---|' * len(columns)}---|"
    for variant in dict.fromkeys(row["variant"] for row in rows):
        of_variant = [row for row in rows if row["variant"] == variant]
        cells = [_cell([row[name] for row in of_variant if name in row]) for name in columns]
        yield f"| {variant} | {' | '.join(cells)} | {', '.join(str(row['seed']) for row in of_variant)} |"


def _cell(values):
    if not values:
        return "-"
    found = spread(values)
    return f"{found.mean:.1f} ± {found.std:.1f}" if found.count > 1 else f"{found.mean:.1f}"


def read(path):
    """The rows made so far; a last line that a kill cut off does not count."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return rows


def append(path, row):
    """Add one row, in one write, so that processes side by side do not tear each other's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        # a line that a kill cut off is not gone on with
        torn = file.tell() and not path.read_bytes().endswith(b"\n")
        file.write("\n" * torn + f"{json.dumps(row)}\n")


def arguments(commands):
    """The command line, as one of the study's commands."""
    head, _, rest = __doc__.partition("\n\n")
    names = "".join(f"\nvariants of {model}: {', '.join(map(repr, of))}" for model, of in VARIANTS.items())
    parser = commands.add_parser(
        "ablate",
        help="variants of a model",
        description=head,
        epilog=rest + names,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=main)
    parser.add_argument("model", choices=params.MODELS)
    parser.add_argument("dataset", choices=params.DATASETS)
    parser.add_argument(
        "-S", "--set", action="append", default=[], metavar="KEY=VALUE", help="of the model's section, for all variants"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these of the model's variants")
    parser.add_argument("--variant", action="append", default=[], metavar="SETTINGS", help="variants of your own")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--validation", action="store_true", help="leave the test images alone")
    parser.add_argument("--out", help="where the rows go")


def main(args):
    """Train what has no row yet, and print the table."""
    known = VARIANTS[args.model]
    if unknown := [name for name in args.only or () if name not in known]:
        raise UserError(f"--only: {unknown[0]!r} is no variant of {args.model}{params.hint(unknown[0], known)}")
    given = params.load()
    how = given.section("selection", selection.Selection)
    device = machine.start(given.section("run", machine.Run))
    folder = Path(f"data/{args.dataset}")
    if not (folder / "features.npy").exists():
        raise UserError(f"{folder}: is not there; `dvc exp run -S 'datasets=[{args.dataset}]'` makes or restores it")
    benchmark = tasks.load(folder)
    fingerprint = tasks.fingerprint(benchmark)
    path = Path(args.out or f"results/ablations/{args.dataset}-{args.model}.jsonl")
    variants = {text: text for text in args.variant} or {
        name: VARIANTS[args.model][name] for name in args.only or VARIANTS[args.model]
    }
    keys = set()
    for seed in args.seeds:
        for name, settings in variants.items():
            config = configured(given, args.model, args.dataset, *args.set, settings)
            key = repr((config, how, seed, fingerprint, args.validation))
            key = hashlib.sha256(key.encode()).hexdigest()[:12]
            keys.add(key)
            if any(row["key"] == key for row in read(path)):
                continue
            label = f"{args.model}, {args.dataset}, {name}, seed {seed}"
            figures = run(benchmark, models.get(args.model), config, how, seed, device, label, not args.validation)
            settings = " ".join([*args.set, settings])
            append(path, {"variant": name, "seed": seed, "settings": settings, "key": key} | figures)
    print("\n".join(table([row for row in read(path) if row["key"] in keys])))
