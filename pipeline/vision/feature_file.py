"""Features that another program extracted, row by row those of the data set's images."""

import numpy as np
from tqdm import tqdm

from pipeline.common import files
from pipeline.common.errors import UserError
from pipeline.datasets.own import arrays, rows

BLOCK = 4096


def build(path, listing, target, label="features"):
    """Write the features in a user's file as the N x d float32 array `target`, in the order of a `Listing`.

    listing: None where the file is itself the list of images. float16, bfloat16 and float64 become float32. The file
    is read in blocks where its format allows it (.npy, .safetensors, .pt). Raises UserError, naming the row.
    """
    found = arrays.read(path, arrays.FEATURES)
    found = found.oriented(None if listing is None else len(listing.images))
    if listing is None:
        order, words = np.arange(len(found.values)), "its rows are the data set's"
    else:
        order, words = rows.joined(found, listing)
    count, width = len(order), found.values.shape[1]
    print(f"{label}: {count:,} x {width} of {path}: {words}", flush=True)
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
    in_order = bool((order == np.arange(count)).all())
    with files.replacing(target) as file, tqdm(total=count, desc=label, unit="img", disable=None) as bar:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, BLOCK):
            stop = min(start + BLOCK, count)
            block = arrays.floats(found.values, slice(start, stop) if in_order else order[start:stop])
            _need_finite(found, order, listing, block, start)
            file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
            bar.update(len(block))


def _need_finite(found, order, listing, block, start):
    if (fine := np.isfinite(block).all(1)).all():
        return
    row = start + int(fine.argmin())
    name = listing.known_as[row] if listing else (found.names or {row: ""})[row]
    raise UserError(
        f"{found.where}: row {order[row]}{f', {name!r},' if name else ''} holds values that are not finite in float32;"
        " extract it again"
    )
