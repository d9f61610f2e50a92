"""What a user can get wrong is told in one line by the stage that meets it, and leaves nothing half-written."""

import io
import tarfile

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from tests.walk import Clone

pytestmark = pytest.mark.slow
EMPTY = {"data", "data/README.md", "data/none"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return Clone(tmp_path_factory.mktemp("clone"))


@pytest.fixture(autouse=True)
def _clean(clone):
    """Each test begins with the files as cloned."""
    yield
    clone.run("git", "checkout", "-q", ".")
    clone.run("git", "clean", "-q", "-fdx", "-e", ".dvc/cache")


def told(output):
    """The one line that tells what is wrong."""
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, output
    return lines[0]


def written(clone):
    """What lies below data/, less the records of how long stages took."""
    paths = {path.relative_to(clone.folder).as_posix() for path in (clone.folder / "data").rglob("*") if path.is_file()}
    return {path for path in paths if ".records" not in path} - EMPTY


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("model: hsva #", "model: hvsa #", "params.yaml: model: 'hvsa' is not one of hsva, bsegn, eszsl; did you mean"),
        ("\n- shapes\n", "\n- shape\n", "params.yaml: datasets[0]: 'shape' is not one of shapes, cub"),
        ("\neszsl: ", "\neszls: ", "params.yaml: 'eszls' is no section of this pipeline; did you mean 'eszsl'?"),
        ("    task_lr: ", "    task_rl: ", "params.yaml: hsva.shapes (over hsva.common).task_rl: unknown key; did you"),
        ("  checks: 10 ", "  check: 10 ", "params.yaml: selection.check: unknown key; did you mean 'checks'?"),
        ("  checks: 10 ", "  checks: 0 ", "params.yaml: selection.checks: 0 is out of range; it should be at least 1"),
        ("  dtype: float32 ", "  dtype: float23 ", "features.dtype: 'float23' is not one of float32, bfloat16"),
    ],
)
def test_params(clone, old, new, message):
    clone.edit("params.yaml", old, new)
    assert message in told(clone.fails("dvc", "repro"))
    assert written(clone) == set()


def override(clone, **sources):
    """Give the flowers other sources: role -> {url, md5, ...}; and a data set of one's own."""
    path = clone.folder / "params.yaml"
    tree = yaml.safe_load(path.read_text())
    for dataset, roles in sources.items():
        tree[dataset]["sources"] |= roles
    path.write_text(yaml.safe_dump(tree, sort_keys=False))


def flowers(folder):
    """A tiny 102flowers.tgz."""
    path = folder / "102flowers.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for number in range(40):
            data = io.BytesIO()
            Image.effect_noise((64, 64), 60).convert("RGB").save(data, "JPEG")
            entry = tarfile.TarInfo(f"jpg/image_{number + 1:05d}.jpg")
            entry.size = data.tell()
            data.seek(0)
            archive.addfile(entry, data)
    return path


def test_a_wrong_checksum(clone, tmp_path):
    override(clone, flo={"images": {"url": [str(flowers(tmp_path))], "md5": "0" * 32}})
    line = told(clone.fails("python", "-m", "stages.download", "--dataset", "flo"))
    assert "102flowers.tgz" in line
    assert "0" * 32 in line
    assert not {path for path in written(clone) if "/raw/" in path}


def test_no_network(clone):
    override(clone, flo={"images": {"url": ["http://127.0.0.1:9/102flowers.tgz"]}})
    line = told(clone.fails("python", "-m", "stages.download", "--dataset", "flo"))
    assert "flo.sources.images" in line
    assert "127.0.0.1:9" in line


def test_an_archive_that_is_cut_off(clone, tmp_path):
    whole = flowers(tmp_path)
    cut = tmp_path / "cut.tgz"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "any.mat").write_bytes(b"not looked at")
    others = {role: {"url": [str(tmp_path / "any.mat")]} for role in ("labels", "setid", "splits")}
    override(clone, flo={"images": {"url": [str(cut)]}} | others)
    line = told(clone.fails("python", "-m", "stages.download", "--dataset", "flo"))
    assert "cut.tgz" in line
    assert not {path for path in written(clone) if "images" in path and "/raw/" in path}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "weights/mine.safetensors"),
        (b"no weights at all", "weights/mine.safetensors"),
        ({"conv1.weight": torch.zeros(3, 3), "strange.key": torch.zeros(2)}, "resnet10t"),
    ],
    ids=["missing", "unreadable", "another architecture"],
)
def test_weights(clone, content, message):
    path = clone.folder / "weights/mine.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        save_file(content, path)
    clone.edit("params.yaml", "weights/published.yaml", "weights/mine.safetensors")
    line = told(clone.fails("python", "-m", "stages.weights", "--dataset", "shapes"))
    assert message in line
    assert written(clone) == set()


def test_undecodable_images_are_all_listed(clone, tmp_path):
    birds = tmp_path / "birds"
    for name in ("owl", "swift", "wren", "tit", "rook"):
        (birds / "images" / name).mkdir(parents=True)
        for number in range(5):
            Image.effect_noise((48, 48), 40 + 9 * number).convert("RGB").save(birds / f"images/{name}/{number}.jpg")
    (birds / "images/owl/broken.jpg").write_bytes(b"no image")
    (birds / "images/rook/cut.jpg").write_bytes((birds / "images/rook/1.jpg").read_bytes()[:200])
    table = ["class,split,wing,night"] + [
        f"{name},{split},{wing},{night}"
        for name, split, wing, night in [
            ("owl", "seen", 30, "yes"),
            ("swift", "seen", 17, "no"),
            ("wren", "seen", 5, "no"),
            ("tit", "seen", 7, "yes"),
            ("rook", "unseen", 31, "no"),
        ]
    ]
    (birds / "classes.csv").write_text("\n".join(table) + "\n")
    override(clone, folder={"images": {"url": [str(birds)]}})
    clone.edit("params.yaml", "  arch: resnet101.tv_in1k", "  arch: resnet10t")
    clone.edit("params.yaml", "  pretrained: true", "  pretrained: false")
    clone.run("python", "-m", "stages.files")
    for stage in ("download", "splits", "semantics", "weights", "finetune"):
        clone.run("python", "-m", f"stages.{stage}", "--dataset", "folder")
    output = clone.fails("python", "-m", "stages.features", "--dataset", "folder")
    assert "owl/broken.jpg" in output
    assert "rook/cut.jpg" in output
    assert "features.npy" not in {path.rsplit("/", 1)[-1] for path in written(clone)}
    assert told(output)
