"""Where a backbone begins: the table of published weights, one file for all data sets, or random weights."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.common import files
from pipeline.common.errors import UserError, first_of
from pipeline.common.params import build, read_yaml
from pipeline.datasets.base import Source
from pipeline.sources import download
from pipeline.vision import backbone, checkpoint, unwrap


def start(table, config, store):
    """The headless model that `backbone.weights` and the data set's own section mean as the beginning.

    table: `backbone.weights`. A .yaml is a table of published weights by arch, fetched into the folder `store` where
    `pretrained` asks for them; any other file is itself the weights, of every data set.

    Raises UserError where the weights are missing or damaged, or are not the architecture's.
    """
    model, part = backbone.create(config), None
    if Path(table).suffix not in (".yaml", ".yml"):
        path, part = Path(table), config.part
    elif config.pretrained:
        path = _published(table, config.arch, store)
    else:
        print(f"{config.arch}: random weights, seed {config.seed}", flush=True)
        return model
    state, told = unwrap.find(model, checkpoint.read(path), path, config.arch, part)
    model.load_state_dict(state, strict=False)
    # here, since a number may be finite in the file's type alone
    if wrong := [key for key, value in model.state_dict().items() if not value.isfinite().all()]:
        raise UserError(f"{path}: {first_of(wrong)} holds values that are not finite; backbone.weights should be sound")
    print(f"{config.arch}: weights of {path}{told}", flush=True)
    return model


@dataclass(frozen=True)
class Published:
    """An entry of the table: urls in order of preference; the file's sha256, in full or its first digits."""

    url: list[str] | str
    sha256: str


def _published(table, arch, store):
    entries = read_yaml(table, "backbone.weights should name a table or a weights file") or {}
    entries = build(dict[str, Published], entries, str(table))
    if arch not in entries:
        raise UserError(
            f"{table}: has no published weights of {arch}; add its url and sha256 there, set backbone.weights "
            "to a file of them, or pretrained: false for random ones"
        )
    entry = entries[arch]
    whole = len(entry.sha256) == 64
    path = download.obtain(Source(entry.url, sha256=entry.sha256 if whole else None), store, f"{table}: {arch}")
    if not whole and not (found := files.digest(path)).startswith(entry.sha256.lower()):
        raise UserError(
            f"{path}: its sha256 begins with {found[:8]}, not {entry.sha256} as in {table}; remove it to fetch it again"
        )
    return path
