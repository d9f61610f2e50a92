"""What a user writes: params.yaml, tables of classes, the table of published weights."""

from pathlib import Path
from types import SimpleNamespace

from pipeline import schema
from pipeline.common import params
from pipeline.datasets import folder as own
from pipeline.predict import classes
from pipeline.study import compare
from tests.fuzz.kinds import hashed, kind
from tests.pictures import encoded, gradient, tar

ROOT = Path(__file__).parents[2]
BIRDS = ["barn owl", "crow", "gull", "swift", "tit", "wren"]
TABLE = "class,split,wing (cm),nocturnal,diet\n" + "".join(
    f"{name},{'unseen' if name in ('tit', 'wren') else 'seen'},{10 + 3 * i},{'yes' if i % 2 else 'no'},{diet}\n"
    for i, (name, diet) in enumerate(zip(BIRDS, ("mice", "seeds", "fish") * 2, strict=True))
)


def make_params(folder):
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    return ["params.yaml"]


@kind("params", make_params)
def read_params(folder):
    given = params.load(folder / "params.yaml")
    schema.check(given)
    return hashed(given.tree)


def make_folder(folder):
    pictures = {
        f"birds/images/{name}/{number}.jpg": encoded(gradient(8, 8, 10 * i + number), "JPEG")
        for i, name in enumerate(BIRDS)
        for number in range(4)
    }
    tar(folder / "images.tar", pictures)
    (folder / "classes.csv").write_text(TABLE)
    return ["classes.csv"]


@kind("table", make_folder)
def read_folder(folder):
    listing = own.listing(folder)
    config = own.SplitConfig(val_seen=0.25, seed=0, unseen=0.3, test_seen=0.2, val_unseen=0.3, folds=1)
    semantics, split = own.semantics(folder, "attributes"), own.splits(folder, config)
    return hashed(listing.images, semantics.attributes, split.split)


def make_classes(folder):
    names = ["wing: large", "wing: small", "night"]
    rows = "".join(f"bird {i},{i / 4},{1 - i / 4},{i % 2}\n" for i in range(4))
    (folder / "new.csv").write_text(f"class_name,{','.join(names)}\n{rows}")
    return ["new.csv"]


@kind("new-classes", make_classes)
def read_new_classes(folder):
    about = SimpleNamespace(
        attributes=["wing: large", "wing: small", "night"], seen=["owl"], unseen=["wren"], dataset="folder"
    )
    return hashed(*classes.read_classes(folder / "new.csv", about))


def make_seeds(folder):
    header = "model,dataset,seed,T1,U,S,H,AUSUC\n"
    for name in ("a", "b"):
        rows = "".join(f"eszsl,shapes,{seed},50.5,20.25,7{seed}.5,30,{seed}\n" for seed in range(3))
        (folder / f"{name}.csv").write_text(header + rows)
    return ["a.csv"]


@kind("seeds", make_seeds)
def read_seeds(folder):
    return hashed(list(compare.lines(compare.read(str(folder / "a.csv")), compare.read(str(folder / "b.csv")))))
