"""A clone of this checkout to walk the pipeline in, as a user does: dvc and git in subprocesses."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# `python` of the stages is the one that runs the tests; nothing of the user's git or DVC set-up takes part
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "A User",
    "GIT_AUTHOR_EMAIL": "user@example.org",
    "GIT_COMMITTER_NAME": "A User",
    "GIT_COMMITTER_EMAIL": "user@example.org",
    "DVC_NO_ANALYTICS": "1",
}
SMALL = {
    "images_per_class: 48": "images_per_class: 8",
    "    epochs: 6\n": "    epochs: 1\n",  # of fine-tuning
    "checks: 10 ": "checks: 2 ",
}


class Clone:
    """A git repository with this checkout's files as its first commit."""

    def __init__(self, folder, changes=()):
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        for old, new in changes:
            self.edit("params.yaml", old, new)
        self.run("git", "init", "-q", "-b", "main")
        self.commit("As cloned")

    @classmethod
    def at(cls, folder):
        """A clone that is there already."""
        there = cls.__new__(cls)
        there.folder = folder
        return there

    def run(self, *command):
        """Run a command that must end well in the clone: its output, both streams."""
        done = self._start(command)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def say(self, line):
        """Run what a user types into a shell, which must end well: its output."""
        return self.run("bash", "-c", f"set -e\n{line}")

    def fails(self, *command):
        """Run a command that must fail: its output, in which there is no traceback."""
        done = self._start(command)
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stdout
        return done.stdout

    def _start(self, command):
        return subprocess.run(
            command, cwd=self.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def edit(self, name, old, new):
        """Replace text that occurs once in a file."""
        path = self.folder / name
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        path.write_text(text.replace(old, new))

    def commit(self, message):
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)


def ran(output):
    """Names of the stages whose commands a dvc output says it ran."""
    return set(re.findall(r"^Running stage '([^']+)'", output, re.M))
