"""Class semantics as the models read them: L2-normalised float32 rows, one a class, in the published order."""

import numpy as np

from pipeline.common import files
from pipeline.common.errors import UserError


def write(path, semantics):
    """Check a `Semantics` and write it as .npz: attributes C x d_a float32, class_names, attribute_names, source."""
    check(semantics)
    files.write_npz(
        path,
        attributes=semantics.attributes.astype(np.float32),
        class_names=np.array(semantics.class_names, dtype=np.str_),
        attribute_names=np.array(semantics.attribute_names, dtype=np.str_),
        source=np.array(semantics.source, dtype=np.str_),
    )


def check(semantics):
    """Raise UserError unless each class has one finite row of length one and a name of its own."""
    rows, names = semantics.attributes, semantics.class_names
    if rows.ndim != 2 or len(rows) != len(names):
        raise UserError(f"semantics: {rows.shape} values for {len(names)} classes; there should be a row a class")
    if semantics.attribute_names and len(semantics.attribute_names) != rows.shape[1]:
        raise UserError(f"semantics: {len(semantics.attribute_names)} attribute names for {rows.shape[1]} columns")
    for name, row in zip(names, rows, strict=True):
        if not row.any():
            raise UserError(f"semantics: class '{name}' has no attribute set; it needs one to be told from others")
        if not np.isfinite(row).all():
            raise UserError(f"semantics: class '{name}' has a value that is not finite")
        if abs(np.linalg.norm(row) - 1) > 1e-9:
            raise UserError(f"semantics: class '{name}' has a row of length {np.linalg.norm(row):.6g}; it should be 1")
    if len(set(names)) != len(names):
        raise UserError(f"semantics: class '{next(n for n in names if names.count(n) > 1)}' stands twice")
