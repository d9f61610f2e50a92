"""dvc.yaml says the truth: each stage declares the code that it reaches and the params that it reads, no more."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from pipeline import params

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# `download` declares no code, so that an edit never downloads again; `check` declares the whole package
WITHOUT_CODE = {"download", "check"}
# modules chosen by a name from params.yaml, and what stands for them in dvc.yaml
CHOSEN = {"pipeline.datasets": ("${item.dataset}", params.DATASETS), "pipeline.models": ("${model}", params.MODELS)}


def source(module):
    path = ROOT / (module.replace(".", "/") + ".py")
    return path if path.exists() else ROOT / module.replace(".", "/") / "__init__.py"


def imports(path):
    """Modules of this project that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("pipeline", "stages") and source(name).exists()}


def reached(stage):
    """Paths of all files that a stage's code can come to, choices from params.yaml written as in dvc.yaml."""
    waiting, seen = [f"stages.{stage}"], set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        waiting += imports(source(module))
        if module in CHOSEN:
            waiting += [f"{module}.{name}" for name in CHOSEN[module][1]]
    paths = {source(module).relative_to(ROOT).as_posix() for module in seen}
    for package, (written, names) in CHOSEN.items():
        folder = package.replace(".", "/")
        if package in seen:
            paths = {path for path in paths if path not in {f"{folder}/{name}.py" for name in names}}
            paths.add(f"{folder}/{written}.py")
    # packages that hold a docstring alone change nothing
    return {path for path in paths if not _only_a_docstring(ROOT / path)}


def _only_a_docstring(path):
    return path.exists() and all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body)


@pytest.mark.parametrize("stage", sorted(set(STAGES) - WITHOUT_CODE))
def test_deps_name_every_module_that_a_stage_reaches(stage):
    declared = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")}
    assert declared == reached(stage)


def reads(stage):
    """Keys that a stage reads, from the first arguments of `section` and `layered`, in dvc.yaml's spelling."""
    found = set()
    for path in (ROOT / f"stages/{stage}.py", *READ_FOR.get(stage, ())):
        for node in ast.walk(ast.parse(Path(path).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                count = {"section": 1, "layered": 2}.get(node.func.attr, 0)
                found |= {_spelt(argument) for argument in node.args[:count]}
    return {key for key in found if key.split(".")[0] != "run"}


# helpers that read params on a stage's behalf
READ_FOR = dict.fromkeys(("weights", "finetune", "features"), (ROOT / "pipeline/backbone.py",)) | dict.fromkeys(
    ("select", "train", "evaluate"), (ROOT / "pipeline/models/__init__.py",)
)


def _spelt(node):
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return "${item.dataset}.sources"  # the one key that a stage keeps in a variable
    parts = [
        part.value if isinstance(part, ast.Constant) else "${" + ast.unparse(part.value) + "}" for part in node.values
    ]
    return re.sub(r"\$\{(args\.)?dataset\}", "${item.dataset}", "".join(parts).replace("${name}", "${model}"))


@pytest.mark.parametrize("stage", sorted(set(STAGES) - {"check"}))
def test_params_are_those_that_the_stage_reads(stage):
    declared = set(STAGES[stage].get("params", []))
    read = reads(stage)
    assert declared == {key for key in read if not any(key.startswith(f"{other}.") for other in read if other != key)}


def test_speed_and_places_are_no_cache_key():
    text = (ROOT / "dvc.yaml").read_text()
    assert not re.search(r"^\s+- run\b", text, re.M)
    assert "$LAUNCH python -m stages.features" in text


def test_every_model_has_a_section_for_every_data_set():
    given = params.load(ROOT / "params.yaml")
    for model in params.MODELS:
        assert set(given.value(model)) == {"common", *params.DATASETS}


def test_only_extraction_and_fine_tuning_import_timm():
    for stage in STAGES:
        if stage not in ("weights", "finetune", "features"):
            tops = [top_level(ROOT / path) for path in reached(stage) if "$" not in path]
            assert not any("timm" in top for top in tops), stage


def top_level(path):
    body = ast.parse(path.read_text()).body
    named = {alias.name.split(".")[0] for node in body if isinstance(node, ast.Import) for alias in node.names}
    return named | {node.module.split(".")[0] for node in body if isinstance(node, ast.ImportFrom) if node.module}
