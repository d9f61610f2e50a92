"""What the `run` section sets up."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.common import machine, params, record

ROOT = Path(__file__).parents[2]
RUN = params.load("params.yaml").section("run", machine.Run)


def test_cores_are_shared_out_among_a_launchers_processes(monkeypatch):
    monkeypatch.setattr(machine, "available_cores", lambda: 8)
    shares = {}
    for processes in (1, 4, 16):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        shares[processes] = RUN.decoders
    assert shares == {1: 8, 4: 2, 16: 1}
    assert dataclasses.replace(RUN, workers=5).decoders == 5


def test_each_process_of_a_launcher_has_its_gpu_and_a_named_one_stays(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "empty", lambda *shape, device: None)
    assert [str(machine.device("auto", local)) for local in (0, 1, 2)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert str(machine.device("cuda:1", 0)) == "cuda:1"
    assert str(machine.device("cpu", 1)) == "cpu"


def test_float32_is_made_a_full_one():
    for flags in (torch.backends.cudnn, torch.backends.cuda.matmul):
        flags.allow_tf32 = True
    machine.start(RUN)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.deterministic


@pytest.mark.parametrize("name", ["cuda:99", "no such"])
def test_a_device_that_is_not_there_is_one_line(name):
    with pytest.raises(machine.UserError, match=f"run.device: '{name}' cannot be used here"):
        machine.device(name)


def group(root, path, quota, period=100_000, mount=""):
    """Write a control group's quota, as version 2 does or, below a mount, as version 1 does."""
    folder = root / "sys/fs/cgroup" / mount / path
    folder.mkdir(parents=True, exist_ok=True)
    if mount:
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (folder / "cpu.cfs_period_us").write_text(f"{period}\n")
    else:
        (folder / "cpu.max").write_text(f"{quota} {period}\n")


def cores(root, groups, monkeypatch):
    """What `available_cores` makes of the groups written below `root` on a host of 64 cores, all of them allowed."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    return machine.available_cores(root)


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [(400_000, 100_000, 4), (150_000, 100_000, 2), (5_000, 100_000, 1), (50_000, 25_000, 2), ("max", 100_000, 64)],
)
def test_a_containers_quota_counts_rounded_up(tmp_path, monkeypatch, quota, period, expected):
    group(tmp_path, "job", quota, period)
    assert cores(tmp_path, "0::/job\n", monkeypatch) == expected


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "expected"), [(250_000, 3), (-1, 64), (20_000_000, 64)])
def test_so_does_one_of_version_1(tmp_path, monkeypatch, mount, quota, expected):
    group(tmp_path, "docker/abc", quota, mount=mount)
    # what another controller's mount says is not about processors
    group(tmp_path, "docker/abc", 100_000, mount="memory")
    lines = "11:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"
    assert cores(tmp_path, lines, monkeypatch) == expected


def test_a_group_may_use_no_more_than_those_above_it(tmp_path, monkeypatch):
    group(tmp_path, "slice/job", "max")
    group(tmp_path, "slice", 600_000)
    group(tmp_path, "other", 100_000)
    assert cores(tmp_path, "0::/slice/job/step\n", monkeypatch) == 6


def test_a_container_that_is_told_the_hosts_path_finds_its_group_at_the_mount(tmp_path, monkeypatch):
    group(tmp_path, "", 200_000)
    assert cores(tmp_path, "0::/../system.slice/docker-abc.scope\n", monkeypatch) == 2


def test_the_cores_that_a_scheduler_binds_to_stay_the_most(tmp_path, monkeypatch):
    group(tmp_path, "", 200_000)
    assert cores(tmp_path, "0::/\n", monkeypatch) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert machine.available_cores(tmp_path) == 1


def test_without_control_groups_all_cores_count(tmp_path, monkeypatch):
    assert cores(tmp_path, "", monkeypatch) == 64
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.available_cores(tmp_path) == 1


@pytest.mark.parametrize(("available", "words"), [(1, "CPU, 1 core"), (6, "CPU, 6 cores")])
def test_logs_and_records_name_the_cores_that_may_be_used(monkeypatch, available, words):
    monkeypatch.setattr(machine, "available_cores", lambda: available)
    assert machine.describe(torch.device("cpu")).endswith(words)
    if not torch.cuda.is_initialized():
        assert record.measured(0)["device"] == machine.processor()


@pytest.mark.parametrize(
    ("available", "asked", "user", "expected"),
    [(3, None, None, 3), (64, None, None, 8), (3, 5, None, 5), (3, None, "8", 8)],
    ids=["quota", "room", "run.threads", "OMP_NUM_THREADS"],
)
def test_threads_are_no_more_than_the_cores_unless_asked_for(monkeypatch, available, asked, user, expected):
    chosen = [8]
    monkeypatch.setattr(torch, "get_num_threads", lambda: chosen[-1])
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(machine, "available_cores", lambda: available)
    monkeypatch.delenv("OMP_NUM_THREADS")
    if user:
        monkeypatch.setenv("OMP_NUM_THREADS", user)
    machine.start(dataclasses.replace(RUN, device="cpu", threads=asked))
    assert chosen[-1] == expected


# imports each module as if it were the first, up to where it loads torch or its end, and says what torch would read
FIRST = """
import importlib, os, sys

class Stop(BaseException):
    pass

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise Stop

given = os.environ.get("OMP_WAIT_POLICY")
sys.meta_path.insert(0, Watch())
for name in sys.argv[1:]:
    for other in [other for other in sys.modules if other.partition(".")[0] in ("pipeline", "stages", "benchmarks")]:
        del sys.modules[other]
    os.environ.pop("OMP_WAIT_POLICY", None)
    if given:
        os.environ["OMP_WAIT_POLICY"] = given
    try:
        importlib.import_module(name)
        end = "no torch"
    except Stop:
        end = "torch"
    print(name, os.environ.get("OMP_WAIT_POLICY"), end)
"""


@pytest.mark.parametrize(("given", "expected"), [(None, "passive"), ("active", "active")])
def test_threads_wait_without_spinning_unless_the_user_says_so(given, expected):
    files = [path for folder in ("stages", "benchmarks", "pipeline/models") for path in (ROOT / folder).glob("*.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if given:
        environment["OMP_WAIT_POLICY"] = given
    done = subprocess.run(
        [sys.executable, "-c", FIRST, *names], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = {line.split(" ", 2)[0]: line.split(" ", 2)[1:] for line in done.stdout.splitlines()}
    assert set(found) == set(names)
    assert {policy for policy, _ in found.values()} == {expected}
    # safetensors.torch loads it before any module of this project
    assert found["stages.evaluate"] == [expected, "torch"]
