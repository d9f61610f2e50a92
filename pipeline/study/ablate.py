"""Variants of a model on one data set, under the protocol of the pipeline: python -m pipeline.study ablate hsva flo

Reads what `dvc repro` has made in data/<data set>/ and params.yaml, and trains each variant with each seed: epochs are
chosen on validation, the test images looked at once. Each row is appended to results/ablations/<data set>-<model>.jsonl
when it is made; rows that are there are not made again, so several of these can share the work.

    python -m pipeline.study ablate hsva flo -S epochs=24 --seeds 0 1 2
    python -m pipeline.study ablate bsegn cub --variant 'fem.weight=0.1 fem.temperature=0.03' --validation
"""

from pipeline.common import params
from pipeline.common.errors import UserError
from pipeline.protocol import selection
from pipeline.report.statistics import spread
from pipeline.study import grid, judging, places, rows, trainings
from pipeline.study.trainings import Training

# R as TF-VAEGAN's, one hidden layer deep, on every rung, so that each changes one thing
NO_MFIM = "cycle.depth=1 levels=0"
CYCLE = f"fem.training=none fem.joint=0 {NO_MFIM}"
FEM = f"fem.balance=none {NO_MFIM}"
# each with the weight that suits its scale
DOMAIN_MEAN = "fem.balance=domain_mean fem.balance_weight=0.1"
PER_SAMPLE = "fem.balance=per_sample fem.balance_weight=1"

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
        "+ balance, domain mean": f"{NO_MFIM} {DOMAIN_MEAN}",
        "+ balance, per sample": f"{NO_MFIM} {PER_SAMPLE}",
        "+ mFIM, 1 level": "cycle.depth=1 levels=1",
        "+ mFIM, 1 level, R of two layers": "cycle.depth=2 levels=1",
        "+ mFIM, 2 levels": "cycle.depth=2 levels=2",
        "R learns from fakes": "cycle.fakes=true",
        "cycle on seen fakes alone": "cycle.unseen=false",
        "seen fakes encoded": "seen_latents=encoded",
        "seen fakes from the prior": "seen_latents=prior",
        "FEM frozen": "fem.training=frozen",
        "generator without FEM": "fem.weight=0",
        "FEM without balance": "fem.balance=none",
        "FEM balanced by domain means": DOMAIN_MEAN,
        "FEM balanced per sample": PER_SAMPLE,
        "FEM apart from the prediction": "fem.joint=0",
        "FEM's scores in the prediction": "fem.joint=1",
        "a penalty that adapts": "penalty_adapts=true",
        "FEM centred": "fem.centre=true",
        "FEM is the cycle branch": "fem.shared=true",
    },
    "eszsl": {"as configured": ""},
}
"""What each variant sets, over what params.yaml and -S say."""


def table(rows):
    """Markdown: mean and standard deviation over seeds of each variant's figures."""
    named = ["T1", "U", "S", "H", "AUSUC", "H_cal", *judging.SYMPTOMS, "validation_T1", "validation_H"]
    columns = [name for name in named if any(name in row for row in rows)]
    yield f"| variant | {' | '.join(columns)} | seeds |"
    yield f"|---|{'---|' * len(columns)}---|"
    for variant in dict.fromkeys(row["variant"] for row in rows):
        of_variant = [row for row in rows if row["variant"] == variant]
        cells = [_cell([row[name] for row in of_variant if name in row]) for name in columns]
        yield f"| {variant} | {' | '.join(cells)} | {', '.join(str(row['seed']) for row in of_variant)} |"


def cut_short(made):
    """Of which pairs of a training and its row the choice was the last that was allowed, a line each."""
    for training, row in made:
        if last := selection.limits(row, training.config):
            yield f"{training.variant}, seed {training.seed}: the best was {last}"


def _cell(values):
    if not values:
        return "-"
    found = spread(values)
    return f"{found.mean:.1f} ± {found.std:.1f}" if found.count > 1 else f"{found.mean:.1f}"


def arguments(commands):
    """The command line, as one of the study's commands."""
    names = "".join(f"\nvariants of {model}: {', '.join(map(repr, of))}" for model, of in VARIANTS.items())
    parser = places.command(commands, "ablate", __doc__ + names.replace("\n", "\n\n", 1), "variants of a model")
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
    places.arguments(parser)


def wanted(given, args):
    """The trainings that the arguments ask for."""
    known = VARIANTS[args.model]
    if unknown := [name for name in args.only or () if name not in known]:
        raise UserError(f"--only: {unknown[0]!r} is no variant of {args.model}{params.hint(unknown[0], known)}")
    variants = {text: text for text in args.variant} or {name: known[name] for name in args.only or known}
    how, _ = trainings.protocol(given)
    found = []
    for seed in args.seeds:
        for name, text in variants.items():
            config = trainings.configured(given, args.model, args.dataset, *args.set, text)
            settings = " ".join([*args.set, text]).strip()
            found.append(Training(args.dataset, args.model, seed, config, how, settings, name, not args.validation))
    return found


def main(args):
    """Train what has no row yet, and print the table."""
    given = params.load()
    _, settings = trainings.protocol(given)
    asked = wanted(given, args)
    trainings.benchmark(args.dataset)
    path = args.out or f"results/ablations/{args.dataset}-{args.model}.jsonl"
    name = f"ablate-{args.model}-{args.dataset}"
    with places.place(args, settings, name) as place:
        kept = grid.Rows(path, given.tree, settings, place.device)
        try:
            grid.train(asked, place, settings, kept, name)
        finally:
            of = {(kept.key(training), training.variant): training for training in asked}
            named = [((row.get("key"), row.get("variant")), row) for row in rows.read(kept.path)]
            made = [(of[name], row) for name, row in named if name in of]
            print("\n".join([*table([row for _, row in made]), *cut_short(made)]))
