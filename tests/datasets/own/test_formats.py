"""Every format gives the same arrays; a file that lies, is damaged or would run code is refused in one line."""

import contextlib
import io
import pickle
import zipfile

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from safetensors.torch import save_file

from pipeline.common.errors import UserError
from pipeline.datasets.own import arrays
from tests.datasets.own import writers

GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.normal(size=(6, 4)).astype(np.float32)
NAMES = [f"owl ü/{i}.jpg" for i in range(6)]
LABELS = np.array([0, 0, 1, 1, 2, 2])


def read(path):
    return arrays.read(path, arrays.FEATURES).oriented(len(ROWS))


@pytest.mark.parametrize("ending", writers.NAMED)
def test_every_format_gives_rows_names_and_labels(tmp_path, ending):
    path = tmp_path / f"mine.{ending}"
    writers.NAMED[ending](path, ROWS, labels=LABELS, names=np.array(NAMES))
    found = read(path)
    np.testing.assert_array_equal(arrays.floats(found.values, slice(None)), ROWS)
    np.testing.assert_array_equal(arrays.floats(found.values, np.array([5, 0])), ROWS[[5, 0]])
    assert found.names == NAMES
    assert (found.labels - found.labels.min()).tolist() == LABELS.tolist()


def test_a_bare_npy_has_rows_alone_and_is_mapped(tmp_path):
    np.save(tmp_path / "mine.npy", ROWS)
    found = read(tmp_path / "mine.npy")
    assert isinstance(found.values, np.memmap)
    assert found.names is found.labels is None


def test_what_is_stored_column_by_column_is_read_as_it_is(tmp_path):
    np.save(tmp_path / "mine.npy", np.asfortranarray(ROWS))
    np.testing.assert_array_equal(read(tmp_path / "mine.npy").values, ROWS)


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_width_of_float_becomes_float32(tmp_path, ending, dtype):
    tensor = torch.tensor(ROWS).to(dtype)
    path = tmp_path / f"mine.{ending}"
    torch.save(tensor, path) if ending == "pt" else save_file({"features": tensor}, path)
    found = arrays.floats(read(path).values, slice(0, 6))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, tensor.float().numpy())


def test_numpys_half_floats_too(tmp_path):
    np.save(tmp_path / "mine.npy", ROWS.astype(np.float16))
    np.testing.assert_array_equal(
        arrays.floats(read(tmp_path / "mine.npy").values, slice(None)), ROWS.astype(np.float16).astype(np.float32)
    )


@pytest.mark.parametrize("ending", ["npz", "pt", "safetensors"])
def test_a_vector_a_name_is_a_table(tmp_path, ending):
    path, content = tmp_path / f"mine.{ending}", {f"bird {i}": ROWS[i] for i in range(6)}
    tensors = {name: torch.tensor(row) for name, row in content.items()}
    {"npz": lambda: np.savez(path, **content), "pt": lambda: torch.save(tensors, path)}.get(
        ending, lambda: save_file(tensors, path)
    )()
    found = read(path)
    rows = dict(zip(found.names, found.values, strict=True))
    assert all((rows[name] == content[name]).all() for name in content)


def test_a_square_matlab_array_is_a_column_an_image(tmp_path):
    square = ROWS[:4]
    writers.mat(tmp_path / "mine.mat", square)
    writers.npz(tmp_path / "mine.npz", square)
    for ending in ("mat", "npz"):
        found = arrays.read(tmp_path / f"mine.{ending}", arrays.FEATURES).oriented(4)
        np.testing.assert_array_equal(arrays.floats(found.values, slice(None)), square)


def test_an_array_of_columns_is_turned_where_only_that_fits(tmp_path):
    np.save(tmp_path / "mine.npy", ROWS.T)
    np.testing.assert_array_equal(read(tmp_path / "mine.npy").values, ROWS)


class Evil:
    """Would write a file if its pickle were run."""

    def __reduce__(self):
        return (open, ("ran", "w"))


def _evil_npy(path):
    np.save(path, np.array([Evil()], dtype=object), allow_pickle=True)


def _evil_npz(path):
    np.savez(path, features=ROWS, names=np.array([Evil()] * 6, dtype=object))


def _evil_pt(path):
    torch.save({"features": Evil()}, path)


def _old_pickle(path):
    path.write_bytes(pickle.dumps(Evil()))


def _grown_header(path):
    """A header that claims 8 TB before 96 bytes of data."""
    np.save(path, ROWS)
    data = path.read_bytes().replace(b"(6, 4), }", b"(1000000000000, 2), }"[: len(b"(6, 4), }")])
    assert len(data) == path.stat().st_size
    path.write_bytes(data)


def _claims(path, shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    data = file.getvalue() + ROWS.tobytes()
    if path.suffix == ".npy":
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("features.npy", data)


def _bomb_npz(path):
    np.savez_compressed(path, features=np.zeros((100_000, 1000), np.float32))


def _bomb_mat(path):
    scipy.io.savemat(path, {"features": np.zeros((4000, 9000))}, do_compression=True)


def _bomb_h5(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("features", (10**12, 4), dtype="f4", chunks=(1000, 4))


def _expanded_pt(path):
    torch.save({"features": torch.zeros(1, 4).expand(10**12, 4)}, path)


def _meta_pt(path):
    torch.save({"features": torch.zeros(10**6, 4, device="meta")}, path)


def _sparse_pt(path):
    torch.save({"features": torch.eye(6).to_sparse()}, path)


def _cut(write, share=0.7):
    def cut(path):
        write(path, ROWS, labels=LABELS, names=np.array(NAMES))
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])

    return cut


def _flipped(write):
    """One bit of the data other than written, which a checksum shows."""

    def flipped(path):
        write(path, ROWS, labels=LABELS)
        data = bytearray(path.read_bytes())
        data[data.find(ROWS.tobytes()) + 17] ^= 4
        path.write_bytes(data)

    return flipped


def _elsewhere(path):
    np.save(path.parent / "secret.npy", ROWS)
    with h5py.File(path, "w") as file:
        file["features"] = h5py.ExternalLink("other.h5", "/features")


def _external(path):
    (path.parent / "secret").write_bytes(ROWS.tobytes())
    with h5py.File(path, "w") as file:
        file.create_dataset("features", (6, 4), dtype="f4", external=[(str(path.parent / "secret"), 0, 96)])


def _never_written(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("features", (6, 4), dtype="f4", chunks=(3, 4))[:3] = ROWS[:3]


def _sparse_mat(path):
    scipy.io.savemat(path, {"features": scipy.sparse.eye(6).tocsc()})


HOSTILE = {
    "pickle in .npy": (".npy", _evil_npy, "Python objects"),
    "pickle in .npz": (".npz", _evil_npz, "'names' holds Python objects"),
    "pickle in .pt": (".pt", _evil_pt, "refused: it holds more than tensors"),
    "old pickle": (".pt", _old_pickle, "refused: it holds more than tensors"),
    "cut .npy": (".npy", _cut(writers.npy), "should have 96 bytes of data by its header, and has"),
    "written twice": (".npy", lambda p: _claims(p, (3, 4)), "should have 48 bytes of data by its header, and has 96"),
    "huge .npy": (".npy", lambda p: _claims(p, (10**12, 2)), "should have 8,000,000,000,000 bytes"),
    "huge .npz": (".npz", lambda p: _claims(p, (10**12, 2)), "should have 8,000,000,000,000 bytes"),
    "negative": (".npy", lambda p: _claims(p, (-6, -4)), "cannot be read"),
    "bomb .npz": (".npz", _bomb_npz, "decompression bomb"),
    "bomb .mat": (".mat", _bomb_mat, "decompression bomb"),
    "bomb .h5": (".h5", _bomb_h5, "decompression bomb"),
    "one number as many": (".pt", _expanded_pt, "is no plain tensor"),
    "no data": (".pt", _meta_pt, "is no plain tensor"),
    "sparse .pt": (".pt", _sparse_pt, "is no plain tensor"),
    "sparse .mat": (".mat", _sparse_mat, "sparse"),
    "cut .npz": (".npz", _cut(writers.npz), "cannot be read"),
    "cut .mat": (".mat", _cut(writers.mat), "cannot be read"),
    "cut v7.3": (".mat", _cut(writers.mat73), "cannot be read"),
    "cut .h5": (".h5", _cut(writers.h5), "cannot be read"),
    "cut .safetensors": (".safetensors", _cut(writers.safetensors), "cannot be read"),
    "cut .pt": (".pt", _cut(writers.pt), "cannot be read"),
    "flipped .npz": (".npz", _flipped(writers.npz), "CRC"),
    "flipped .pt": (".pt", _flipped(writers.pt), "is damaged"),
    "link out": (".h5", _elsewhere, "points to another place"),
    "data outside": (".h5", _external, "keeps its data in other files"),
    "half written": (".h5", _never_written, "parts of 'features' were never written"),
    "empty": (".npz", lambda p: p.write_bytes(b""), "is empty"),
    "a web page": (".mat", lambda p: p.write_bytes(b"<!DOCTYPE html>" * 40), "cannot be read"),
    "no format": (".xlsx", lambda p: p.write_bytes(b"x"), "'.xlsx' is none of the formats that can be read: .npy"),
    "missing": (".npy", lambda p: None, "No such file"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_hostile_or_damaged_is_one_line(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    ending, write, message = HOSTILE[case]
    write(tmp_path / f"mine{ending}")
    with pytest.raises(UserError, match=message.replace("(", r"\(")) as caught:
        read(tmp_path / f"mine{ending}")
    assert str(tmp_path / f"mine{ending}") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


UNCLEAR = {
    "two tables": ({"a": ROWS, "b": ROWS}, "holds a 6x4, b 6x4; which is meant\\? Name it 'features'"),
    "whole numbers": ({"features": LABELS[:, None].repeat(2, 1)}, "holds int64; it should hold floating-point"),
    "three axes": ({"features": ROWS[:, :, None]}, "its array is 6 x 4 x 1; it should be 6 rows of some width"),
    "no width": ({"features": ROWS[:, :0]}, "its array is 6 x 0"),
    "another count": ({"features": ROWS[:5]}, "its array is 5 x 4"),
    "names of others": ({"features": ROWS, "names": np.array(NAMES[:5])}, "has 5 names for 6 rows|is 6 x 4"),
    "labels of others": ({"features": ROWS, "names": np.array(NAMES), "labels": LABELS[:5]}, "has 5 labels for 6"),
    "names as numbers": ({"features": ROWS, "names": np.arange(6)}, "'names' should hold strings, not int"),
    "labels as fractions": ({"features": ROWS, "labels": LABELS + 0.5}, "'labels' should hold whole numbers or names"),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_what_is_unclear_is_asked(tmp_path, case):
    content, message = UNCLEAR[case]
    np.savez(tmp_path / "mine.npz", **content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "mine.npz")


def test_no_damage_gives_anything_but_one_line(tmp_path):
    """Bits flipped and ends cut at random: what is read is right, or refused in one line."""
    for ending, write in writers.NAMED.items():
        path = tmp_path / f"mine.{ending}"
        write(path, ROWS, labels=LABELS, names=np.array(NAMES))
        whole = path.read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            for place in GENERATOR.integers(0, len(data), GENERATOR.integers(1, 9)):
                data[place] ^= 1 << GENERATOR.integers(0, 8)
            path.write_bytes(data[: GENERATOR.integers(len(data) // 2, len(data) + 1)])
            with contextlib.suppress(UserError):
                assert len(arrays.floats(read(path).values, slice(None))) == len(ROWS)
