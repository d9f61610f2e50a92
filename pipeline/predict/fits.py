"""Whether the files of an exported folder say the same: asked when it is read, so that nothing wrong is predicted."""

import torch

from pipeline.common import files
from pipeline.common.errors import first_of

AGAIN = "export it again"


def check(about, tensors, config, folder):
    """Raise UserError where bundle.json and model.safetensors do not say the same of classes, attributes and widths,
    or where one of the tensors that prediction needs, besides the model's, is missing.

    about, tensors, config: see `bundle.Bundle`
    """
    _check_about(about, config, folder / "bundle.json")
    path, trained = folder / "model.safetensors", hasattr(config, "classifier")
    shapes = _shapes(about, tensors, trained)
    if missing := shapes.keys() - tensors.keys():
        raise files.damaged(path, f"lacks {first_of(missing)}", AGAIN)
    for name, (kind, wanted) in shapes.items():
        shape = tuple(tensors[name].shape)
        alike = len(shape) == len(wanted) and all(w in (None, n) for n, w in zip(shape, wanted, strict=True))
        if not alike or tensors[name].dtype != kind:
            right = " x ".join("any" if size is None else str(size) for size in wanted) or "one number"
            raise _misfit(path, f"size of {name}: {shape} {tensors[name].dtype}, should be {right} {kind}")
    if trained and not _are_labels(tensors["labels"], len(about.seen)):
        raise _misfit(path, f"labels are not of {len(about.seen)} seen classes")
    if tensors["temperature"] <= 0:
        raise _misfit(path, "temperature is not above 0")


def _check_about(about, config, path):
    classes = about.seen + about.unseen
    if len(set(classes)) != len(classes):
        raise files.damaged(path, "names a class twice", AGAIN)
    if not all(isinstance(name, str) for name in about.attributes):
        raise files.damaged(path, "has an attribute whose name is no text", AGAIN)
    if hasattr(config, "classifier"):
        for name, most in (("gzsl_epoch", "gzsl_epochs"), ("czsl_epoch", "czsl_epochs")):
            if not 1 <= getattr(about, name) <= getattr(config.classifier, most):
                raise files.damaged(path, f"{name} is none of its config's epochs", AGAIN)


def _shapes(about, tensors, trained):
    """Type and shape of each tensor besides the model's, by name; None where a size may be any."""
    seen, unseen = len(about.seen), len(about.unseen)
    # sizes that several tensors share
    size = len(about.attributes) or _size(tensors, "seen", 1)
    inner, rows = _size(tensors, "reading.centre", 0), _size(tensors, "labels", 0)
    shapes = {
        "seen": (torch.float32, (seen, size)),
        "unseen": (torch.float32, (unseen, size)),
        "gzsl.weight": (torch.float32, (seen + unseen, None)),
        "gzsl.bias": (torch.float32, (seen + unseen,)),
        "czsl.weight": (torch.float32, (unseen, None)),
        "czsl.bias": (torch.float32, (unseen,)),
        "reading.weight": (torch.float32, (size, inner)),
        "reading.centre": (torch.float32, (inner,)),
        "temperature": (torch.float32, ()),
    }
    return shapes | ({"inputs": (torch.float16, (rows, inner)), "labels": (torch.int64, (rows,))} if trained else {})


def _size(tensors, name, axis):
    shape = tensors[name].shape if name in tensors else ()
    return shape[axis] if axis < len(shape) else None


def _are_labels(labels, classes):
    return len(labels) > 0 and int(labels.min()) >= 0 and int(labels.max()) < classes


def check_heads(model, width, tensors, path):
    """Raise UserError where what a model makes of features of this width is not what its classifiers read."""
    inputs = model.encode(torch.zeros(1, width))
    read = {"reading.centre": inputs.shape[1]}
    read |= dict.fromkeys(("gzsl.weight", "czsl.weight"), model.expand(inputs).shape[1])
    for name, wanted in read.items():
        if tensors[name].shape[-1] != wanted:
            raise _misfit(path, f"size of {name}: {tuple(tensors[name].shape)} for {wanted} inputs")


def _misfit(path, reason):
    return files.damaged(path, f"does not fit bundle.json ({reason})", AGAIN)
