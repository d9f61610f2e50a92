"""What ran: versions, git and data hashes, params as DVC locked them, and time and memory of each stage."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import yaml

from pipeline.common import files, record

PACKAGES = ("torch", "timm", "numpy", "dvc")


def versions():
    """Name -> version of Python and the packages that decide numbers; those that are not installed left out."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit():
    """The git commit in words, or None outside of a repository."""
    try:
        revision = _git("rev-parse", "--short=12", "HEAD").strip()
        # results are written while a pipeline runs, and DVC's lock grows with each stage
        changed = _git("status", "--porcelain", "--untracked-files=no").splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    changed = [line for line in changed if line[3:] not in ("dvc.lock", "results/metrics.json")]
    return revision + (f", with changes to {len(changed)} files" if changed else "")


def _git(*arguments):
    return subprocess.run(("git", *arguments), capture_output=True, text=True, check=True).stdout


def locked(dataset, seed, file="dvc.lock"):
    """What dvc.lock says of a data set and seed: ({path: hash} of its data and model, {key: value} of its params).

    Both are empty where there is no dvc.lock, as in a run that DVC did not start.
    """
    path = Path(file)
    stages = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("stages", {}) if path.is_file() else {}
    hashes, params = {}, {}
    for name, stage in stages.items():
        _, _, item = name.partition("@")
        if item not in (dataset, f"{dataset}-{seed}"):
            continue
        hashes |= {out["path"]: out.get("md5", "") for out in stage.get("outs", [])}
        for values in stage.get("params", {}).values():
            params |= values
    return hashes, params


def records(model, dataset, seeds):
    """The records of this machine's last run of each stage that made the data set's results, in order of their end.

    A stage whose results came out of DVC's cache, or from elsewhere, has none or an older one.
    """
    found = []
    for path in record.FOLDER.glob("*.json"):
        entry = files.read_json(path)
        of_seed = entry["of"] in [[dataset, str(seed)] for seed in seeds] and entry["model"] == model
        if entry["of"] == [dataset] or of_seed:
            found.append(entry)
    return sorted(found, key=lambda entry: entry["ended"])
