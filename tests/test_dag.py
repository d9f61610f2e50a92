"""dvc.yaml says the truth: each stage declares the code that it reaches and the params that it reads, no more."""

import ast
import re
from pathlib import Path

import grimp
import pytest
import yaml

from pipeline.common import params

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
GRAPH = grimp.build_graph("pipeline", "stages", include_external_packages=True, cache_dir=None)
# `download` declares no code, so that an edit never downloads again
WITHOUT_CODE = {"download"}
# modules that import others by a name from params.yaml, and what stands for those in dvc.yaml
CHOSEN = {
    "pipeline.datasets.base.registry": {f"pipeline.datasets.{name}": "${item.dataset}" for name in params.DATASETS},
    "pipeline.models.base.registry": {f"pipeline.models.{name}": "${model}" for name in params.MODELS},
}
WRITTEN = CHOSEN["pipeline.datasets.base.registry"] | CHOSEN["pipeline.models.base.registry"]
# what `common` may hold: plumbing. Whatever decides a number lives with what it decides, and is a dep there
PLUMBING = {"arguments", "errors", "files", "machine", "params", "record", "tensorfile", "training"}


def reached(stage):
    """Modules outside of `common` that a stage's code can come to, through every choice that params.yaml offers."""
    waiting, seen = [f"stages.{stage}"], set()
    while waiting:
        module = waiting.pop()
        if module in seen or module.split(".")[0] not in ("pipeline", "stages"):
            continue
        seen.add(module)
        waiting += GRAPH.find_modules_directly_imported_by(module)
        waiting += CHOSEN.get(module, ())
    return {module for module in seen if not module.startswith("pipeline.common") and not _only_a_docstring(module)}


def source(module):
    path = ROOT / (module.replace(".", "/") + ".py")
    return path if path.exists() else ROOT / module.replace(".", "/") / "__init__.py"


def _only_a_docstring(module):
    return all(isinstance(node, ast.Expr) for node in ast.parse(source(module).read_text()).body)


def written(module):
    """A module's file in dvc.yaml's spelling."""
    path = source(module).relative_to(ROOT).as_posix()
    for chosen, name in WRITTEN.items():
        if module == chosen or module.startswith(f"{chosen}."):
            return path.replace(chosen.replace(".", "/"), f"{chosen.rpartition('.')[0].replace('.', '/')}/{name}")
    return path


@pytest.mark.parametrize("stage", sorted(set(STAGES) - WITHOUT_CODE))
def test_deps_cover_every_module_that_a_stage_reaches_and_no_other(stage):
    declared = {dep for dep in STAGES[stage]["deps"] if dep.startswith(("pipeline/", "stages/"))}
    paths = {written(module) for module in reached(stage)}

    def covers(dep, path):
        return path == dep or path.startswith(f"{dep}/")

    assert {path for path in paths if not any(covers(dep, path) for dep in declared)} == set()
    assert {dep for dep in declared if not any(covers(dep, path) for path in paths)} == set()
    assert not any(dep.startswith("pipeline/common") for dep in declared)


def test_what_no_stage_depends_on_decides_no_number():
    held = {path.stem for path in (ROOT / "pipeline/common").glob("*.py")} - {"__init__"}
    assert held == PLUMBING


def test_no_list_stands_twice_and_the_file_fits_four_screens():
    lists = [frozenset(stage["deps"]) for stage in STAGES.values()]
    assert len(lists) == len(set(lists))
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) < 220


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
READ_FOR = dict.fromkeys(("weights", "finetune", "features"), (ROOT / "pipeline/vision/backbone.py",)) | dict.fromkeys(
    ("select", "train", "evaluate"),
    (ROOT / "pipeline/protocol/setting.py", ROOT / "pipeline/models/base/registry.py"),
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


def test_every_file_of_ones_own_is_a_dep_of_one_stage_which_tells_data_sets_apart():
    assert {
        f"${{{name}.files.{kind}}}" for name in params.DATASETS for kind in ("features", "semantics", "splits")
    } == {dep for dep in STAGES["files"]["deps"] if dep.startswith("${")}
    for kind in ("features", "semantics", "splits"):
        deps = {dep for dep in STAGES[kind]["deps"] if dep.startswith("data/files")}
        assert deps == {f"data/files/${{item.dataset}}/{kind}.json"}


# `files` takes its paths as deps
@pytest.mark.parametrize("stage", sorted(set(STAGES) - {"check", "files"}))
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
    for stage in set(STAGES) - {"weights", "finetune", "features"} - {"check"}:
        importing = {module for module in reached(stage) if "timm" in GRAPH.find_modules_directly_imported_by(module)}
        assert not {module for module in importing if _at_the_top(module, "timm")}, stage


def _at_the_top(module, name):
    body = ast.parse(source(module).read_text()).body
    tops = {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
    return name in {top.split(".")[0] for top in tops | {n.module for n in body if isinstance(n, ast.ImportFrom)}}


@pytest.mark.parametrize("module", sorted(m for m in GRAPH.modules if m.count(".") <= 1 and m != "pipeline.schema"))
def test_a_room_says_what_it_holds(module):
    if source(module).name == "__init__.py" and module.startswith("pipeline."):
        said = ast.get_docstring(ast.parse(source(module).read_text()))
        assert said
        assert "import" in said


def test_files_are_short():
    for path in [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        assert len(path.read_text().splitlines()) <= 400, path
