"""The network within a file of weights: found by its own tensors' names, under whatever wrappers they lie."""

import re
import sys
from collections import Counter
from dataclasses import dataclass, field

import torch

from pipeline.common.errors import UserError
from pipeline.vision import checkpoint

# what frameworks put into the middle of names, where it means nothing: DistributedDataParallel, torch.compile, FSDP
WRAPPER = re.compile(r"module|_orig_mod|_\w*wrapped_module|_forward_module|_fpw_module")
AVERAGE = re.compile(r"(^|_)(ema|swa|averaged?|avg|shadow|polyak)($|_|\d)")
# parts of a network that pre-training by masked images leaves beside it
PRETRAINING = re.compile(r"mask_token|decoder_\w+")
COUNTER = "num_batches_tracked"


@dataclass(eq=False)
class Network:
    """A network of the architecture that is in a file.

    prefix: where it lies; state: its tensors by the architecture's own names; beside: other names under that prefix;
    notes: how its tensors became the architecture's, if not by name alone
    """

    prefix: tuple[str, ...]
    state: dict[str, torch.Tensor]
    beside: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self):
        return ".".join(self.prefix) or "."


def find(model, content, path, arch, part=None):
    """The state_dict of the headless `model` in what `checkpoint.read` gave, and one line on what was taken and left.

    part: the name of the network to take where several fit. Of a network and its average, the average is taken, as timm
    does. Raises UserError where the file states another architecture, and where no network, or more than one, fits.
    """
    found = _without_wrappers(checkpoint.tensors(path, content), model)
    if not found:
        raise UserError(f"{path}: holds no state_dict of tensors; save the model's state_dict() there")
    _heed(model, checkpoint.statements(content), path, arch)
    networks, reason = _fitting(model, found)
    if not networks:
        shard = "; it is one shard of several, to be merged" if re.search(r"-\d+-of-\d+", str(path)) else ""
        raise UserError(f"{path}: does not fit {arch}: {reason}; backbone.weights should be weights of {arch}{shard}")
    chosen, average = _chosen(networks, _conventions(content), path, arch, part)
    return chosen.state, _told(chosen, average, found)


def _heed(model, stated, path, arch):
    """Raise UserError where the file says that it is of other architectures of timm, and not of this one."""
    own = model.pretrained_cfg.get("architecture") or arch.partition(".")[0], model.pretrained_cfg.get("tag") or None
    whole = ".".join(filter(None, own))
    others = {}
    for where, what in stated.items():
        known = _known(what)
        if known and known[0] == own[0] and (known[1] is None or known[1] == own[1]):
            return
        if known:
            others[where] = what
    for where, what in others.items():
        raise UserError(
            f"{path}: says that it holds {what} ({where}), and backbone.arch is {whole}; set that to {what}, or, where "
            "the file is mistaken, save the state_dict alone"
        )


def _known(name):
    """(architecture, tag or None) of a name of timm's, old ones included; None of any other."""
    import timm

    name = re.sub(r"^(hf[-_]hub:)?(timm/)?", "", name)
    if not timm.is_model(name):
        return None
    arch, tag = timm.models.split_model_name_tag(name)
    if current := timm.models.get_deprecated_models().get(arch):
        arch, current_tag = timm.models.split_model_name_tag(current)
        tag = tag or current_tag
    return arch, tag or None


def _without_wrappers(found, model):
    """The tensors without the wrappers in their paths, unless two would then have one name."""
    own = {part for key in model.state_dict() for part in key.split(".")}
    bare = {}
    for path, tensor in found.items():
        short = tuple(part for part in path if part in own or not WRAPPER.fullmatch(part))
        if short in bare:
            return found
        bare[short] = tensor
    return bare


# -- what fits ---------------------------------------------------------------------------------------------------------


def _fitting(model, found):
    """The networks that fit by the first of the rules by which any does, and in words why none does."""
    required = [key for key in model.state_dict() if not key.endswith(COUNTER)]
    # wherever at least half as many tensors lie as the architecture has: a rule of timm's may join or part some
    counts = Counter(path[:depth] for path in found for depth in range(len(path)))
    groups = {prefix: _under(found, prefix) for prefix, count in counts.items() if 2 * count >= len(required)}
    for rule in (_named, _numbered, _converted):
        tried = [rule(model, prefix, group) for prefix, group in groups.items()]
        if networks := [network for network, _ in tried if network]:
            return networks, None
        if reasons := [reason for _, reason in tried if reason]:
            return [], reasons[0]
    # what is wrong is told of where most names agree
    names = set(required)
    matched = Counter(path[:depth] for path in found for depth in range(len(path)) if ".".join(path[depth:]) in names)
    if not matched:
        held = [".".join(path) for path in found]
        return [], f"it has none of its {len(required)} tensors ({_first(required, 3)}); it holds {_first(held, 3)}"
    best = matched.most_common(1)[0][0]
    where = f"under {'.'.join(best)}, " if best else ""
    return [], where + _split(model, _under(found, best))[2]


def _under(found, prefix):
    """{rest of the name: tensor} of what lies under a prefix."""
    depth = len(prefix)
    return {".".join(path[depth:]): tensor for path, tensor in found.items() if path[:depth] == prefix}


def _named(model, prefix, group):
    """By the architecture's own names."""
    state, beside, problem = _split(model, group)
    return None if problem else Network(prefix, state, beside), None


def _numbered(model, prefix, group):
    """By the places of the architecture's children, which nn.Sequential(*model.children()) names its parts by."""
    children = [name for name, _ in model.named_children()]
    renamed = {}
    for key, tensor in group.items():
        place, _, rest = key.partition(".")
        known = place.isascii() and place.isdigit() and int(place) < len(children)
        renamed[f"{children[int(place)]}.{rest}" if known else key] = tensor
    if renamed.keys() == group.keys():
        return None, None
    state, beside, problem = _split(model, renamed)
    note = "its parts are numbered and taken in their order"
    return None if problem else Network(prefix, state, beside, [note]), None


def _converted(model, prefix, group):
    """Renamed and resized by timm's own rule for this family, for files of the original authors and other sizes.

    That resizes position embeddings, which is told, and kernels, which is refused: other patches, another network.
    """
    rule = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    try:
        made = rule(dict(group), model) if rule else None
        state, beside, problem = _split(model, made) if isinstance(made, dict) else (None, None, "")
    except Exception:
        # the rules expect the family's keys and fail in their own ways on others
        return None, None
    if state is None or problem:
        return None, None
    own = model.state_dict()
    for key in _kernels(model):
        if _resampled(state[key], group.get(key), group):
            held = f" from {_shape(group[key])}" if key in group else ""
            return None, f"it would fit only with {key} resampled{held} to {_shape(own[key])}, which is another network"
    resized = [key for key in own if key in group and key in state and group[key].numel() != own[key].numel()]
    notes = [f"{key} resized from {_shape(group[key])} to {_shape(own[key])}" for key in resized[:3]]
    if len(resized) > 3:
        notes.append(f"{len(resized) - 3} more resized likewise")
    return Network(prefix, state, beside, notes or ["names are translated by timm's rule"]), None


def _kernels(model):
    """Names of the weights of convolutions and linear layers."""
    kinds = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.Linear)
    return [f"{name}.weight" for name, module in model.named_modules() if isinstance(module, kinds)]


def _resampled(made, before, group):
    """Whether a kernel's numbers are not those that the file holds, be they in another order or shape."""
    if made is before or any(made is tensor for tensor in group.values()):
        return False
    if before is not None:
        return made.numel() != before.numel()
    if made.ndim < 4:
        # linear layers of other programs are joined and parted
        return False
    ordered = made.flatten().sort().values
    alike = [tensor for tensor in group.values() if tensor.numel() == made.numel() and tensor.dtype == made.dtype]
    return not any(torch.equal(tensor.flatten().sort().values, ordered) for tensor in alike)


def _split(model, group):
    """(the architecture's tensors, names beside them, what keeps these from fitting in words or "")."""
    own = model.state_dict()
    names = model.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))
    parts = {key.split(".")[0] for key in own}

    def lies_beside(key):
        """A head, or a part that the architecture has not: a loss, a projector. A further block of a part that it has
        is of another network, and so is a further token."""
        first, _, rest = key.partition(".")
        if heads and key.startswith(heads):
            return True
        if first in parts:
            return False
        return bool(rest) or group[key].numel() <= 1 or PRETRAINING.fullmatch(key) is not None

    # files older than that counter lack it, and a network that is not trained does not read it
    missing = [key for key in own if key not in group and not key.endswith(COUNTER)]
    rest = [key for key in group if key not in own]
    unknown = [key for key in rest if not lies_beside(key)]
    wrong = [key for key in own if key in group and not _alike(group[key], own[key])]
    misshaped = [f"{key} {_shape(group[key])}, should be {_shape(own[key])}" for key in wrong]
    told = (("missing", missing), ("unknown", unknown), ("of another shape", misshaped))
    problem = "; ".join(f"{len(keys)} {word} ({_first(keys)})" for word, keys in told if keys)
    return {key: group[key] for key in own if key in group}, [key for key in rest if lies_beside(key)], problem


def _alike(held, own):
    kind = held.is_floating_point() == own.is_floating_point()
    return held.shape == own.shape and kind and held.layout is own.layout and not held.is_meta


def _shape(tensor):
    sizes = " x ".join(map(str, tensor.shape)) or "scalar"
    return sizes if tensor.is_floating_point() else f"{sizes} of {str(tensor.dtype).removeprefix('torch.')}"


def _first(names, most=5):
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# -- which is taken ----------------------------------------------------------------------------------------------------


def _conventions(content):
    """Whether the program that wrote a file keeps the average under `state_dict` itself and the network elsewhere.

    Lightning's WeightAveraging does, and says so by `averaging_state`; so does MMEngine's EMAHook.
    """
    if not isinstance(content, dict):
        return False
    meta = content.get("meta")
    by_mmengine = "ema_state_dict" in content and isinstance(meta, dict) and "mmengine_version" in meta
    return "averaging_state" in content or by_mmengine


def _chosen(networks, state_dict_is_average, path, arch, part):
    """The network to take, and whether it is an average."""

    def marks(network):
        if state_dict_is_average:
            return int(network.prefix[:1] == ("state_dict",))
        return sum(bool(AVERAGE.search(_spaced(name))) for name in network.prefix)

    names = [network.name for network in networks]
    if part is not None:
        if part not in names:
            raise UserError(
                f"{path}: backbone.part: {arch} is not found under '{part}'; it is found under {' and '.join(names)}"
            )
        chosen = networks[names.index(part)]
        return chosen, marks(chosen) > 0
    # one network under two names counts once, and as no average if one of them says of none
    distinct = {}
    for network in networks:
        twin = next((other for other in distinct if _equal(network, other)), None)
        distinct[twin or network] = min(marks(network), distinct[twin] if twin else marks(network))
    most = max(distinct.values())
    best = [network for network, marked in distinct.items() if marked == most]
    if len(best) > 1:
        fitting = " and ".join(network.name for network in best)
        raise UserError(
            f"{path}: holds {len(best)} networks that fit {arch}, {fitting}; set backbone.part to the one to take"
        )
    return best[0], most > 0


def _spaced(name):
    """EMACallback as ema_callback."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _equal(one, other):
    return all(key in other.state and checkpoint.same(tensor, other.state[key]) for key, tensor in one.state.items())


def _told(network, average, found):
    """What was taken and what was left, as the end of a line."""
    depth = len(network.prefix)
    left = Counter(".".join((*network.prefix, key.split(".")[0])) for key in network.beside)
    for path in found:
        if path[:depth] != network.prefix:
            shared = next(i for i, part in enumerate(network.prefix) if path[i : i + 1] != (part,))
            left[".".join(path[: shared + 1])] += 1
    told = f", its {network.name}" if network.prefix else ""
    told += ", which is the average" if average else ""
    told += "".join(f"; {note}" for note in network.notes)
    names = [f"{name} ({count} tensor{'s' * (count != 1)})" for name, count in left.items()]
    return told + (f"; left: {_first(names, 8)}" if names else "")
