"""Trainings on a cluster of two hosts, which are two nodes of Ray on this machine: the same bytes, whatever dies."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed")

from pipeline.common.errors import UserError
from pipeline.study import __main__ as study
from pipeline.study import cluster, rows
from tests.study import project

pytestmark = pytest.mark.slow
WORDS = ("grid", "--models", "hsva", "eszsl")
ROWS = "results/studies/grid.jsonl"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Node:
    """A node of Ray with one core, in a session of processes of its own, which ends with it."""

    def __init__(self, folder, *words):
        options = ["--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats", "--block", *words]
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name("ray")), "start", *options],
            cwd=folder,
            env=os.environ | {"HOME": str(folder), "RAY_AUTH_MODE": "token"},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self):
        """End it, and all that it started, as a power cut does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """(environment that joins the cluster; its head; a function that adds a node)."""
    # Ray's sockets have names of at most 107 bytes
    folder, port = tmp_path_factory.mktemp("hosts"), free_port()
    short = Path("/tmp") / f"ray-{os.getpid()}"
    environment = {"HOME": str(folder), "RAY_AUTH_MODE": "token", "RAY_ADDRESS": f"127.0.0.1:{port}"}
    token = folder / ".ray/auth_token"
    token.parent.mkdir()
    token.write_text("a-token-of-the-tests-that-is-long-enough-for-ray")
    nodes = [Node(folder, "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={short}")]

    def add():
        nodes.append(Node(folder, f"--address=127.0.0.1:{port}"))
        return nodes[-1]

    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert nodes[0].process.poll() is None
            time.sleep(0.1)
    yield environment, nodes[0], add
    for node in reversed(nodes):
        node.kill()
    shutil.rmtree(short, ignore_errors=True)


def made(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return project.make(folder, seeds=(0, 1, 2), changes={"hsva": {"epochs": 12}}, linked=True)


def test_a_host_that_dies_midway_loses_nothing_and_the_bytes_are_those_of_one_process(hosts, tmp_path, monkeypatch):
    environment, _, add = hosts
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    made(here, monkeypatch)
    project.run(*WORDS)
    made(there, monkeypatch)
    second = add()
    driver = project.begin(there, *WORDS, "--on", "ray", "--threads", "1", environment=environment)
    log = there / "results/studies/grid.jsonl"
    project.until(lambda: len(rows.read(log)) >= 1, driver)
    second.kill()
    said = driver.communicate()[0]
    assert driver.returncode == 0, said
    assert project.kept(there) == project.kept(here)

    def figures(folder):
        return sorted(
            (row["model"], row["seed"], {name: row[name] for name in ("T1", "U", "S", "H", "AUSUC", "validation_H")})
            for row in rows.read(folder / ROWS)
        )

    assert len(figures(there)) == 6
    assert repr(figures(there)) == repr(figures(here))


def test_what_cannot_be_had_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    project.make(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    with pytest.raises(SystemExit):
        study.main(["grid", "--models", "eszsl", "--on", "ray"])
    said = capsys.readouterr().err
    assert "no cluster answers there" in said
    assert len([line for line in said.splitlines() if line.startswith("error: ")]) == 1
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"--on ray: Ray is not installed here; `pip install"):
        cluster.load()
