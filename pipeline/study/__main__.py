"""Many trainings under one protocol, and what they come to: python -m pipeline.study COMMAND"""

import argparse

from pipeline.common.errors import one_line
from pipeline.study import ablate, clean, compare, grid, search, status, table


def parse(words=None):
    """The command line: its arguments, with the chosen command's `main` as `command`."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.study", description=__doc__.split(":")[0])
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (grid, ablate, search, table, compare, status, clean):
        module.arguments(commands)
    return parser.parse_args(words)


@one_line
def main(words=None):
    args = parse(words)
    args.command(args)


if __name__ == "__main__":
    main()
