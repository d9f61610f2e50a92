"""What ran: versions, git and data hashes, params as DVC locked them, and time and memory of each stage."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from pipeline.common import params, record
from pipeline.common.errors import UserError

LOCK_AGAIN = "`git checkout dvc.lock` and `dvc repro` make it again"
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
    if not Path(file).is_file():
        return {}, {}
    content = params.read_yaml(file, LOCK_AGAIN) or {}
    hashes, locked_params = {}, {}
    try:
        for name, stage in content.get("stages", {}).items():
            _, _, item = name.partition("@")
            if item not in (dataset, f"{dataset}-{seed}"):
                continue
            hashes |= {str(out["path"]): str(out.get("md5", "")) for out in stage.get("outs", [])}
            for values in stage.get("params", {}).values():
                locked_params |= values
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{file}: is not as DVC writes it; {LOCK_AGAIN}") from None
    return hashes, locked_params


def records(model, dataset, seeds):
    """The records of this machine's last run of each stage that made the data set's results, in order of their end.

    A stage whose results came out of DVC's cache, or from elsewhere, has none or an older one.
    """
    wanted = [[dataset, str(seed)] for seed in seeds]
    found = [record.read(path) for path in sorted(record.FOLDER.glob("*.json"))]
    found = [
        one for one in found if one and (one["of"] == [dataset] or (one["of"] in wanted and one["model"] == model))
    ]
    return sorted(found, key=lambda entry: entry["ended"])
