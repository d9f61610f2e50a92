"""params.yaml: what it may hold, and one-line errors that name the key.

A section is described by a frozen dataclass beside the code that uses it. Its annotations are the schema:
plain types, `Literal` for a choice, `Annotated[float, Range(...)]` for bounds, `X | None`, `list[X]`, `dict[str, X]`
and other dataclasses. `pipeline.schema` lists the sections.
"""

import contextlib
import copy
import dataclasses
import difflib
import math
import reprlib
import types
import typing
from pathlib import Path

import yaml

from pipeline.common.errors import UserError

FILE = "params.yaml"
DATASETS = ("shapes", "cub", "sun", "awa1", "awa2", "apy", "flo", "folder")
MODELS = ("hsva", "bsegn", "eszsl")
# what stands for no file of a user's own: it is there, for DVC asks for each file that is named
NO_FILE = "data/none"

# whole numbers above have no use here, and some of those that take them no room
MOST = 2**40
# values of a YAML file with its aliases written out
MOST_NODES = 1_000_000

Dataset = typing.Literal[DATASETS]
Model = typing.Literal[MODELS]


@dataclasses.dataclass(frozen=True)
class Range:
    """Bounds of a number; `above` and `below` are exclusive, `least` and `most` inclusive."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value):
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self):
        words = {"least": "at least", "most": "at most", "above": "above", "below": "below"}
        set_bounds = {name: bound for name, bound in vars(self).items() if bound is not None}
        return " and ".join(f"{words[name]} {bound:g}" for name, bound in set_bounds.items())


Positive = Range(above=0)
AtLeastOne = Range(least=1)
Share = Range(least=0, most=1)


class Params:
    """The contents of params.yaml. A stage reads it through `section` alone, which a test compares with dvc.yaml."""

    def __init__(self, tree, file=FILE):
        self.tree = tree
        self.file = file

    def value(self, key):
        """The raw value at a dotted key. Raises UserError where it is missing."""
        node, walked = self.tree, []
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                place = ".".join(walked) or "the top level"
                known = list(node) if isinstance(node, dict) else []
                raise UserError(f"{self.file}: '{key}' is missing: {place} has no key '{part}'{hint(part, known)}")
            node = node[part]
            walked.append(part)
        return node

    def layered(self, common, key, schema):
        """As `section`, of `key` laid over `common`: what differs over what is shared."""
        return build(schema, self.laid(common, key), f"{self.file}: {key} (over {common})")

    def laid(self, common, key):
        """The raw tree that `layered` checks, a copy."""
        return copy.deepcopy(_laid(self.value(common), self.value(key)))

    def section(self, key, schema):
        """The value at `key`, checked against `schema` (a dataclass or any annotation it may hold)."""
        return build(schema, self.value(key), f"{self.file}: {key}")


class _Loader(yaml.SafeLoader):
    """PyYAML's own, which says where a value is that is not of the type its tag states."""

    def construct_object(self, node, deep=False):
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception:
            raise yaml.MarkedYAMLError(problem=f"this is no {node.tag}", problem_mark=node.start_mark) from None


def read_yaml(path, advice):
    """The plain values of a YAML file. Raises UserError; `advice`: what to do where there is no such file."""
    try:
        loader = _Loader(Path(path).read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node and _written_out(node, {}) > MOST_NODES:
            raise ValueError("its aliases stand for more than a million values")
        return loader.construct_document(node) if node else None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {advice}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise UserError(f"{path}: not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())[:300]}") from None


def _written_out(node, counts):
    """How many values a YAML node stands for, each alias counted for all that it names. Raises ValueError for one that
    holds itself."""
    if id(node) not in counts:
        counts[id(node)] = None
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
        counts[id(node)] = 1 + sum(_written_out(part, counts) for part in parts)
    if counts[id(node)] is None:
        raise ValueError("a value holds itself")
    return counts[id(node)]


def load(file=FILE):
    """Read params.yaml and check its top level: the model, data sets and seeds, and no key that nothing reads."""
    tree = read_yaml(file, "run from the folder that holds it")
    if not isinstance(tree, dict):
        raise UserError(f"{file}: holds no keys; it should be a mapping of sections")
    params = Params(tree, file)
    general = ("model", "datasets", "seeds", "backbone", "finetune", "features", "selection", "evaluation", "run")
    names = (*general, *DATASETS, *MODELS)
    for key in tree:
        if key not in names:
            raise UserError(f"{file}: '{key}' is no section of this pipeline{hint(key, names)}")
    model = params.section("model", Model)
    for name in (*DATASETS, *MODELS):
        if name in tree and not isinstance(tree[name], dict):
            raise UserError(f"{file}: {name}: {_shown(tree[name])} should be a mapping of keys to values")
    for name in params.section("datasets", list[Dataset]):
        params.value(name)
        params.value(f"{model}.{name}")
    params.section("seeds", list[typing.Annotated[int, Range(least=0)]])
    return params


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_short.maxlist = _short.maxdict = 8
_short.maxlevel = 4


def _shown(value):
    """A value as messages show it: the beginning of a long one."""
    try:
        return _short.repr(value)
    except ValueError:
        # Python writes no number of thousands of digits
        return "a number of thousands of digits"


def _laid(below, above):
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {key: _laid(below.get(key), value) for key, value in above.items()}


def build(schema, value, where):
    """Check `value` against `schema` and return it in the schema's types. `where` begins every message."""
    origin, arguments = typing.get_origin(schema), typing.get_args(schema)
    if origin is typing.Annotated:
        result = build(arguments[0], value, where)
        for bounds in arguments[1:]:
            if result is not None and result not in bounds:
                raise UserError(f"{where}: {_shown(result)} is out of range; it should be {bounds}")
        return result
    if origin is typing.Literal:
        if value not in arguments or isinstance(value, bool) != any(
            value is a for a in (True, False) if a in arguments
        ):
            close = hint(value, arguments, or_known=False)
            raise UserError(f"{where}: {_shown(value)} is not one of {', '.join(map(str, arguments))}{close}")
        return value
    if origin in (typing.Union, types.UnionType):
        return _build_union(arguments, value, where)
    if origin is list:
        if not isinstance(value, list) or not value:
            raise UserError(f"{where}: {_shown(value)} should be a list of at least one value")
        if len({repr(item) for item in value}) != len(value):
            raise UserError(f"{where}: {_shown(value)} names a value twice; each should stand once")
        return [build(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{where}: {_shown(value)} should be a mapping")
        if strange := [key for key in value if not isinstance(key, str)]:
            raise UserError(f"{where}: the key {_shown(strange[0])} should be text")
        return {key: build(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(schema):
        return _build_dataclass(schema, value, where)
    return _build_scalar(schema, value, where)


def _build_union(options, value, where):
    if value is None and type(None) in options:
        return None
    rest = [option for option in options if option is not type(None)]
    for option in rest[:-1]:
        try:
            return build(option, value, where)
        except UserError:
            continue
    return build(rest[-1], value, where)


def _build_dataclass(schema, value, where):
    if not isinstance(value, dict):
        raise UserError(f"{where}: {_shown(value)} should be a mapping of keys to values")
    hints = typing.get_type_hints(schema, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(schema)}
    for key in value:
        if key not in fields:
            raise UserError(f"{where}.{str(key)[:100]}: unknown key{hint(key, fields)}")
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in value and not optional:
            raise UserError(f"{where}.{name}: missing; {where.split(': ')[-1]} should hold {', '.join(fields)}")
    built = {key: build(hints[key], item, f"{where}.{key}") for key, item in value.items()}
    try:
        return schema(**built)
    except UserError as error:
        # what a schema asks of several keys together
        raise UserError(f"{where}.{error}") from None


def _build_scalar(schema, value, where):
    if schema is float and isinstance(value, str):
        # YAML 1.1 reads 1e-4 as text
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, int) and schema in (int, float) and abs(value) > MOST:
        raise UserError(f"{where}: {_shown(value)} is out of range; a whole number should be at most {MOST:,}")
    if schema is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if schema is float and isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: {value} should be a finite number")
    if schema is typing.Any or (isinstance(value, schema) and not (schema is int and isinstance(value, bool))):
        return value
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    raise UserError(f"{where}: {_shown(value)} should be {words.get(schema, schema)}")


def hint(word, known, or_known=True):
    """'; did you mean X?', or else the known names if wanted."""
    close = difflib.get_close_matches(str(word)[:100], [str(name) for name in known], n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known are {', '.join(map(str, known))}" if known and or_known else ""
