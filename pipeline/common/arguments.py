"""The few arguments that stages take."""

import argparse

from pipeline.common import params

KINDS = {
    "dataset": {"choices": params.DATASETS, "help": "a data set of params.yaml"},
    "seed": {"type": int, "help": "a seed of params.yaml"},
}


def parse(doc, *names):
    """Parse `--dataset` and, where named, `--seed`; both must be given."""
    parser = argparse.ArgumentParser(description=doc)
    for name in names:
        parser.add_argument(f"--{name}", required=True, **KINDS[name])
    return parser.parse_args()
