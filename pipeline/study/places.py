"""Where a study's trainings run: the options that all commands share."""

import argparse
import contextlib

from pipeline.common.errors import UserError
from pipeline.study import cluster, here

EPILOG = """where trainings run:
  --on here   one after the other in this process, as params.yaml's run section says
  --on ray    many at once, each with its share of a GPU (--per-gpu 4: four on one) or with cores of its own
              (--threads 2). Ray is started on this machine, or joined where RAY_ADDRESS names a cluster (auto: the one
              this machine belongs to)

Nothing is computed twice: what a training leaves is kept in data/.trained, and the same command, another study and
`dvc repro` go on with it. Stop it with Ctrl-C; `status` in another terminal tells how far it is."""


def command(commands, name, doc, words):
    """A command's parser, from its module's docstring: the first paragraph begins the help, the rest ends it."""
    head, _, rest = doc.partition("\n\n")
    epilog = f"{rest.rstrip()}\n\n{EPILOG}"
    form = argparse.RawDescriptionHelpFormatter
    return commands.add_parser(name, help=words, description=head, epilog=epilog, formatter_class=form)


def arguments(parser):
    """Add the options."""
    group = parser.add_argument_group("where trainings run")
    group.add_argument("--on", choices=("here", "ray"), default="here", help="this process, or Ray; by default here")
    group.add_argument("--per-gpu", type=int, metavar="N", help="trainings that share a GPU (ray); by default 1")
    group.add_argument("--threads", type=int, metavar="N", help="cores of each (ray); by default run.threads, or 1")
    group.add_argument("--workers", type=int, metavar="N", help="at most so many at once (ray); by default all")


@contextlib.contextmanager
def place(args, run, name):
    """The place that the options name, closed at the end."""
    given = {"--per-gpu": args.per_gpu, "--threads": args.threads, "--workers": args.workers}
    for option, value in given.items():
        if value is not None and value < 1:
            raise UserError(f"{option} {value}: should be at least 1")
        if value is not None and args.on == "here":
            raise UserError(f"{option}: is for --on ray; here, params.yaml's run section says it")
    ray = args.on == "ray"
    made = cluster.Cluster(run, args.per_gpu, args.threads, args.workers) if ray else here.Here(run, name)
    try:
        yield made
    finally:
        made.close()
