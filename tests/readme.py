"""The commands that the READMEs tell a user to type, one string each, as they stand there."""

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
STARTS = re.compile(r"(dvc|make|python|LAUNCH=\S*|[A-Z]+=\()(?=\s|$|\S)")


def commands():
    """All indented lines that begin as a command does; one goes on after a \\ and inside of brackets."""
    found = []
    for name in ("README.md", "data/README.md", "results/README.md"):
        text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(), flags=re.M | re.S)
        for block in re.findall(r"(?:^ {4,}\S.*\n|^\n(?= {4,}\S))+", text, re.M):
            found += _joined(textwrap.dedent(block).splitlines())
    return [command for command in found if STARTS.match(command)]


def _joined(lines):
    joined, going_on = [], False
    for line in lines:
        if going_on:
            joined[-1] += f"\n{line}"
        else:
            joined.append(line)
        going_on = joined[-1].endswith("\\") or joined[-1].count("(") > joined[-1].count(")")
    return joined
