"""`make` finds a Python that will do, or lets uv bring one, or says in one line what is missing; nothing is fetched."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="no make here")

# runs what follows -c under another version, notes any other call, and makes an environment as `-m venv` would
PYTHON = """#!/bin/sh
if [ "$1" = -c ]; then
  exec {real} -c 'import sys; sys.version_info = {version} + ("final", 0); {before}exec(sys.argv[1])' "$2"
fi
echo "python3 $*" >> {calls}
[ "$2" != venv ] || {{ /bin/mkdir -p "$3/bin" && /bin/cp {pip} "$3/bin/python"; }}
"""
UV = """#!/bin/sh
echo "uv $*" >> {calls}
for target; do :; done
/bin/mkdir -p "$target/bin" && /bin/cp {pip} "$target/bin/python"
"""
PIP = """#!/bin/sh
echo "$*" >> {calls}
"""


@pytest.fixture
def project(tmp_path):
    """A folder with the Makefile, and `make(...)`: its exit status, standard error and the calls it made."""
    made, tools, calls = tmp_path / "project", tmp_path / "tools", tmp_path / "calls"
    made.mkdir()
    tools.mkdir()
    shutil.copy(ROOT / "Makefile", made)
    (made / "requirements.lock").touch()
    (tools / "touch").symlink_to(shutil.which("touch"))

    def script(name, text, **values):
        path = tools / name
        path.write_text(text.format(calls=calls, pip=tools / "pip-of-environment", **values))
        path.chmod(0o755)

    script("pip-of-environment", PIP)

    def make(version=None, uv=False, before=""):
        if version:
            script("python3", PYTHON, real=sys.executable, version=version, before=before)
        if uv:
            script("uv", UV)
        done = subprocess.run(
            [shutil.which("make"), ".venv/ready"],
            cwd=made,
            env={"PATH": str(tools)},
            capture_output=True,
            text=True,
            check=False,
        )
        said = calls.read_text().splitlines() if calls.exists() else []
        assert (made / ".venv/ready").exists() == (done.returncode == 0)
        return done.returncode, done.stderr, said

    return make


INSTALL = "-m pip install --quiet --disable-pip-version-check --requirement requirements.lock"


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_a_python_that_will_do_is_taken_whether_or_not_there_is_uv(project, minor):
    status, errors, calls = project((3, minor, 0), uv=minor % 2 == 0)
    assert (status, errors) == (0, "")
    assert calls == ["python3 -m venv .venv", INSTALL]


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 10, 13), (3, 15, 0), None])
def test_uv_brings_one_where_it_is_too_old_too_new_or_missing(project, version):
    status, errors, calls = project(version, uv=True)
    assert (status, errors) == (0, "")
    assert calls == ["uv venv --python 3.13 --seed --clear .venv", INSTALL]


@pytest.mark.parametrize("version", [(3, 10, 13), (3, 15, 0), None])
def test_without_uv_one_line_says_what_would_do(project, version):
    status, errors, calls = project(version)
    assert status != 0
    assert calls == []
    said = [line for line in errors.splitlines() if not line.startswith("make")]
    assert len(said) == 1
    assert re.fullmatch(
        r"error: python3 is no Python 3\.11 to 3\.14 .*try make PYTHON=python3\.13, or install uv.*", said[0]
    )


def test_a_python_without_venv_as_debian_ships_it_will_not_do(project):
    without = 'sys.modules["ensurepip"] = None; '
    status, errors, calls = project((3, 12, 3), before=without)
    assert status != 0
    assert "python3-venv" in errors
    assert calls == []
    assert project((3, 12, 3), before=without, uv=True)[2][0].startswith("uv venv")


def test_make_takes_the_versions_that_the_project_says_it_takes():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    least, below = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", wanted).groups())
    assert f"(3, {least}) <= sys.version_info[:2] <= (3, {below - 1})" in (ROOT / "Makefile").read_text()
