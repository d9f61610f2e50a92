"""The command that makes a result again: model, data set, seeds, and each param that is not as committed."""

import re
import shlex
import subprocess

import yaml

from pipeline.common import params

# sections that all data sets and models have in common, and that decide a number
GENERAL = ("backbone", "finetune", "features", "selection", "evaluation")
# what Hydra's grammar, in which `-S` is written, reads as text without quotes
PLAIN = re.compile(r"[A-Za-z_/][\w./@+-]*")
# a number that DVC writes so, and YAML 1.1 reads as text; so do the params
POWER = re.compile(r"[+-]?\d+(\.\d+)?e[+-]?\d+")
NOT_TEXT = re.compile(r"(?i:null|true|false|nan|inf|[+-]?inf)")


def command(tree, model, dataset, seeds, committed=None):
    """`dvc exp run` with all it takes. tree: params.yaml, with what a study laid over it; committed: as committed, or
    None where that is not known: then only the first three are said."""
    words = [f"model={model}", f"datasets=[{dataset}]", f"seeds=[{','.join(map(str, seeds))}]"]
    if committed is not None:
        words += overrides(tree, committed, decisive(model, dataset))
    return shlex.join(["dvc", "exp", "run"]) + "".join(f" -S {_shell(word)}" for word in words)


def _shell(word):
    # as the README writes them
    return f"'{word}'" if "[" in word and "'" not in word else shlex.quote(word)


def decisive(model, dataset):
    """Keys of params.yaml under which all that decides a result of this model and data set stands."""
    return (*GENERAL, dataset, f"{model}.common", f"{model}.{dataset}")


def committed(file=params.FILE):
    """params.yaml of the last commit, or None without git, or where it is not in it."""
    try:
        done = subprocess.run(("git", "show", f"HEAD:./{file}"), capture_output=True, text=True, check=True)
        tree = yaml.safe_load(done.stdout)
    except (OSError, subprocess.CalledProcessError, yaml.YAMLError, ValueError):
        return None
    return tree if isinstance(tree, dict) else None


def overrides(tree, committed, keys):
    """What `-S` has to say for `committed` to become `tree`, under some dotted keys alone."""
    found = []
    for key in keys:
        found += _between(key, _at(tree, key), _at(committed, key))
    return found


MISSING = object()


def _at(tree, key):
    for part in key.split("."):
        tree = tree.get(part, MISSING) if isinstance(tree, dict) else MISSING
    return tree


def _between(key, new, old):
    if new is MISSING or old is MISSING or not (isinstance(new, dict) and isinstance(old, dict)):
        new, old = _number(new), _number(old)
        if new is old or (new == old and type(new) is type(old)):
            return []
        if new is MISSING:
            return [f"~{key}"]
        return [f"{'++' * (old is MISSING or isinstance(new, dict))}{key}={written(new)}"]
    found = []
    for name in dict.fromkeys([*new, *old]):
        found += _between(f"{key}.{name}", new.get(name, MISSING), old.get(name, MISSING))
    return found


def _number(value):
    return float(value) if isinstance(value, str) and POWER.fullmatch(value) else value


def written(value):
    """A value in the grammar of `-S`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(name)}: {written(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, str) and not (PLAIN.fullmatch(value) and not NOT_TEXT.fullmatch(value)):
        return '"' + re.sub(r'(\\*)"', r'\1\1\\"', re.sub(r"(\\+)$", r"\1\1", value)) + '"'
    return str(value) if not isinstance(value, float) else repr(value)
