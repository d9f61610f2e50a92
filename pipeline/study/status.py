"""How far the studies of this folder are: python -m pipeline.study status"""

from pipeline.study import progress


def arguments(commands):
    """The command line, as one of the study's commands."""
    parser = commands.add_parser("status", help="how far they are", description=__doc__.split(":")[0])
    parser.set_defaults(command=main)


def main(args):
    """Print it."""
    found = progress.read()
    print("\n".join(progress.lines(found)) if found else "no study has run in this folder")
