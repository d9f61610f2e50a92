"""All sections of params.yaml and what each must hold, to check the whole file before anything long begins."""

from pipeline.common import machine, params
from pipeline.common.errors import UserError
from pipeline.datasets.base import Files
from pipeline.datasets.base import registry as datasets
from pipeline.models.base import registry as models
from pipeline.protocol import evaluation, selection
from pipeline.vision import backbone, features, finetune

GLOBAL = {
    "backbone": backbone.Config,
    "features": features.Config,
    "selection": selection.Selection,
    "evaluation": evaluation.Evaluation,
    "run": machine.Run,
}


def check(given):
    """Check every section of a `Params`. Raises UserError at the first that is wrong, missing or unknown."""
    for key, schema in GLOBAL.items():
        given.section(key, schema)
    for name in params.DATASETS:
        module = datasets.get(name)
        parts = {
            "sources": module.Sources,
            "semantics": module.SEMANTICS,
            "splits": module.SplitConfig,
            "files": Files,
            "backbone": backbone.Overrides,
        }
        _only(given, name, (*parts, "finetune"))
        for part, schema in parts.items():
            given.section(f"{name}.{part}", schema)
        given.layered("finetune", f"{name}.finetune", finetune.Config)
    for name in params.MODELS:
        _only(given, name, ("common", *params.DATASETS))
        for dataset in params.DATASETS:
            given.layered(f"{name}.common", f"{name}.{dataset}", models.get(name).Config)


def _only(given, section, known):
    for key in given.value(section):
        if key not in known:
            raise UserError(f"{given.file}: {section}.{key}: unknown key{params.hint(key, known)}")
