"""The same arrays written in every format, as the programs that people use write them."""

import json

import h5py
import numpy as np
import scipy.io
import torch
from safetensors.torch import save_file


def npy(path, rows, **_):
    np.save(path, rows)


def npz(path, rows, **more):
    np.savez(path, features=rows, **more)


def npz_compressed(path, rows, **more):
    np.savez_compressed(path, features=rows, **more)


def mat(path, rows, labels=None, **names):
    """As res101.mat: a column an image, labels counted from one, names as cells."""
    cells = {key: _cells(values) for key, values in names.items()}
    labels = {} if labels is None else {"labels": np.reshape(labels, (-1, 1)) + 1.0}
    scipy.io.savemat(path, {"features": np.asarray(rows, np.float64).T} | labels | cells, do_compression=True)


def _cells(values):
    cells = np.empty((len(values), 1), dtype=object)
    cells[:, 0] = list(values)
    return cells


def mat73(path, rows, labels=None, **names):
    """What MATLAB writes with -v7.3 of the same: HDF5 behind a header of 512 bytes, strings behind references."""
    with h5py.File(path, "w", userblock_size=512) as file:
        # of d x N in MATLAB, HDF5 sees N x d
        item = file.create_dataset("features", data=np.asarray(rows, np.float64), chunks=True, compression="gzip")
        item.attrs["MATLAB_class"] = np.bytes_("double")
        if labels is not None:
            file["labels"] = np.reshape(labels, (1, -1)) + 1.0
        for key, values in names.items():
            cells = file.create_dataset(key, (1, len(values)), dtype=h5py.ref_dtype)
            for i, value in enumerate(values):
                text = file.create_dataset(
                    f"#refs#/{key}{i}", data=np.array([[ord(c)] for c in value], dtype=np.uint16)
                )
                text.attrs["MATLAB_class"] = np.bytes_("char")
                cells[0, i] = text.ref
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(512))


def h5(path, rows, **more):
    with h5py.File(path, "w") as file:
        file["features"] = rows
        for key, values in more.items():
            values = np.asarray(values)
            file[key] = values.astype(object) if values.dtype.kind == "U" else values


def safetensors(path, rows, labels=None, **names):
    tensors = {"features": torch.tensor(rows)} | ({} if labels is None else {"labels": torch.tensor(labels)})
    save_file(tensors, path, {key: json.dumps(list(values)) for key, values in names.items()})


def pt(path, rows, labels=None, **names):
    tensors = {"features": torch.tensor(rows)} | ({} if labels is None else {"labels": torch.tensor(labels)})
    torch.save(tensors | {key: list(map(str, values)) for key, values in names.items()}, path)


def csv(path, rows, class_names):
    lines = [f"{name},{','.join(map(repr, map(float, row)))}" for name, row in zip(class_names, rows, strict=True)]
    path.write_text("\n".join([f"class,{','.join(f'c{i}' for i in range(rows.shape[1]))}", *lines]) + "\n")


# ending -> writer; .npy and .csv hold less and are tested by themselves
NAMED = {
    "npz": npz,
    "compressed.npz": npz_compressed,
    "mat": mat,
    "v73.mat": mat73,
    "h5": h5,
    "safetensors": safetensors,
    "pt": pt,
}
