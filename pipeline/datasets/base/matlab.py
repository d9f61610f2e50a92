"""What a .mat file (MATLAB 5 to 7) may hold to be read: its tags are walked before SciPy's parser, which trusts them.

An element is a tag of eight bytes, type and length, and its data, padded to eight; a short one has both in one such
word. A variable is an element that holds others: flags, dimensions, name and values, perhaps compressed as a whole.
"""

import math
import struct
import zlib

from pipeline.sources.archives import check_expansion

MATRIX, COMPRESSED = 14, 15
CELL, CHAR = 1, 4
FULL = range(6, 16)
"""Classes of variables: full matrices of numbers, of the types that follow."""
NUMBERS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
"""Bytes of a value, by the type of an element of numbers."""
TEXT = {16, 17, 18}
COMPLEX = 0x800
DEEPEST = 8
BLOCK = 1 << 20


def classes(data, wanted, where):
    """Check the variables `wanted` of a .mat file's bytes: {name: class}, or None for a file older than MATLAB 5.

    Raises ValueError where a tag is none that SciPy can read, UserError where little data would become absurdly much.
    """
    if len(data) < 128 or 0 in data[:4]:
        return None
    if data[126:128] not in (b"IM", b"MI"):
        raise ValueError("it has no header of MATLAB's")
    order, found, at = "<" if data[126:128] == b"IM" else ">", {}, 128
    while at < len(data):
        kind, length = struct.unpack_from(f"{order}II", data, at) if at + 8 <= len(data) else (0, 0)
        if kind not in (MATRIX, COMPRESSED) or at + 8 + length > len(data):
            raise ValueError(f"a variable at byte {at} that is none, or cut off")
        content = memoryview(data)[at + 8 : at + 8 + length]
        stream = _Inflated(content, order, where, len(data)) if kind == COMPRESSED else _Stream(content, order)
        if kind == COMPRESSED:
            kind, length = stream.tag()
            stream.passed = 0
            if kind != MATRIX:
                raise ValueError(f"a compressed variable at byte {at} that is none")
        name, cls, dims, flags = _head(stream)
        if name in wanted:
            found[name] = cls
            # names are many and short: quicker to walk once they are all inflated
            stream = _Stream(stream.take(length - stream.passed), order) if cls == CELL else stream
            _values(stream, cls, dims, flags, 0)
        at += 8 + len(content)
    return found


def _head(stream):
    """Name, class, dimensions and flags of a variable."""
    if stream.tag() != (6, 8):
        raise ValueError("a variable without flags")
    flags, _ = stream.tag()
    _, data = stream.element({5})
    dims = struct.unpack(f"{stream.order}{len(data) // 4}i", data[: len(data) // 4 * 4])
    if len(dims) < 2 or min(dims) < 0:
        raise ValueError(f"a variable of dimensions {dims[:4]}")
    _, name = stream.element({1, 2, 16})
    return bytes(name).decode("latin-1"), flags & 0xFF, dims, flags


def _values(stream, cls, dims, flags, depth):
    """Walk the values of a variable. Those of a class that is not read here are left alone."""
    if cls == CELL:
        if depth == DEEPEST:
            raise ValueError("cells in cells in cells")
        for _ in range(math.prod(dims)):
            kind, length = stream.tag()
            if kind != MATRIX:
                raise ValueError("a cell that holds no variable")
            if length:
                _, inner, sizes, inner_flags = _head(stream)
                if inner not in (CELL, CHAR, *FULL):
                    raise ValueError(f"a cell that holds a variable of class {inner}")
                _values(stream, inner, sizes, inner_flags, depth + 1)
    elif cls == CHAR:
        stream.skip_element(NUMBERS.keys() | TEXT)
    elif cls in FULL:
        for _ in range(2 if flags & COMPLEX else 1):
            kind, length = stream.skip_element(NUMBERS.keys())
            if length != math.prod(dims) * NUMBERS[kind]:
                raise ValueError(f"{length:,} bytes for dimensions {dims[:4]} of {NUMBERS[kind]} bytes each")


class _Stream:
    """Bytes taken from the front."""

    def __init__(self, data, order):
        self.data, self.order, self.at, self.passed = data, order, 0, 0
        self.words = struct.Struct(f"{order}II")

    def take(self, count):
        """The next bytes. Raises ValueError where there are fewer."""
        if not 0 <= count <= len(self.data) - self.at:
            raise ValueError("a variable that ends early")
        self.at += count
        self.passed += count
        return self.data[self.at - count : self.at]

    def skip(self, count):
        self.take(count)

    def tag(self):
        """(type, length) of a long tag."""
        return self.words.unpack(self.take(8))

    def element(self, kinds):
        """(type, data) of an element of one of these types, in memory."""
        kind, length, short = self._begin(kinds)
        if short is None:
            short = bytes(self.take(length))
            self.skip(-length % 8)
        return kind, short

    def skip_element(self, kinds):
        """(type, length) of an element of one of these types, passed over."""
        kind, length, short = self._begin(kinds)
        if short is None:
            self.skip(length + -length % 8)
        return kind, length

    def _begin(self, kinds):
        word = self.take(8)
        first, length = self.words.unpack(word)
        short = None
        # a length in the type's upper half: up to four bytes of data are in the tag
        if first >> 16:
            first, length = first & 0xFFFF, first >> 16
            short = bytes(word[4 : 4 + length])
        if first not in kinds or (short is not None and length > 4):
            raise ValueError(f"an element of type {first}, which has no place there")
        return first, length, short


class _Inflated(_Stream):
    """The same of compressed bytes, inflated as far as they are asked for."""

    def __init__(self, data, order, where, size):
        super().__init__(b"", order)
        self.rest, self.where, self.size, self.total = data, where, size, 0
        self.inflate = zlib.decompressobj()

    def take(self, count):
        if count < 0:
            raise ValueError("a variable that ends early")
        self.passed += count
        parts = [bytes(self.data[self.at :][:count])]
        self.at += len(parts[0])
        while (missing := count - sum(map(len, parts))) > 0:
            self._fill()
            parts.append(bytes(self.data[:missing]))
            self.at = len(parts[-1])
        return b"".join(parts)

    def skip(self, count):
        self.passed += count
        while count > (held := len(self.data) - self.at):
            count -= held
            self._fill()
        self.at += count

    def _fill(self):
        try:
            self.data, self.at = self.inflate.decompress(self.rest, BLOCK), 0
        except zlib.error as error:
            raise ValueError(f"a compressed variable: {error}") from None
        self.rest = self.inflate.unconsumed_tail
        self.total += len(self.data)
        check_expansion(self.where, self.total, self.size)
        if not self.data:
            raise ValueError("a compressed variable that ends early")
