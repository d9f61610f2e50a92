"""Damage to bytes, as disks, networks, editors and strangers do it; all of it follows from the generator."""

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
WORDS = (
    b"",
    b"-1",
    b"0",
    b"nan",
    b"inf",
    b"1e999",
    b"1.5",
    b"99999999999999999999",
    b"9" * 400,
    b"null",
    b"true",
    b"x",
    b"[]",
    b"{}",
    b'"',
    b"'",
    b",",
    b"\t",
    b"..",
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "鳥".encode(),
    b"!!bool x",
    b"!!timestamp x",
    b"!!python/object:os.system x",
    b"&a [*a]",
    b"x" * 140_000,
    b"[" * 3000,
    b'{"a":' * 3000,
)


def mutate(generator, data):
    """`data` with one to three changes of any kind."""
    changes = BYTES + (TEXT if _is_text(data) else ())
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        data = generator.choice(changes)(generator, data)
    return data


def _is_text(data):
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def _span(generator, data, most=None):
    """The begin and end of a random part, most often a short one."""
    length = min(len(data), most or len(data), int(2 ** generator.uniform(0, 20)))
    begin = generator.randint(0, len(data) - length)
    return begin, begin + length


def _flipped(generator, data):
    changed = bytearray(data)
    for _ in range(generator.choice((1, 1, 1, 2, 8)) if data else 0):
        changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def _cut(generator, data):
    return data[: generator.randint(0, len(data))]


def _removed(generator, data):
    begin, end = _span(generator, data)
    return data[:begin] + data[end:]


def _spliced(generator, data):
    begin, end = _span(generator, data)
    at = generator.randint(0, len(data))
    return data[:at] + data[begin:end] + data[at:]


def _overwritten(generator, data):
    begin, end = _span(generator, data, 4096)
    return data[:begin] + generator.choice((b"\0", b"\xff", b" ")) * (end - begin) + data[end:]


def _number(generator, data):
    """A length, an offset or a count, in either order of bytes, near what it was or far from it."""
    size, order = generator.choice((1, 2, 4, 8)), generator.choice(("little", "big"))
    if len(data) < size:
        return data
    # headers are where such numbers are
    place = len(data) - size
    at = generator.choice((generator.randint(0, min(place, 512)), generator.randint(0, place)))
    found = int.from_bytes(data[at : at + size], order)
    value = generator.choice((*NUMBERS, found + 1, found - 1, found * 2)) % (1 << 8 * size)
    return data[:at] + value.to_bytes(size, order) + data[at + size :]


def _lines(generator, data):
    """A line removed, doubled or moved."""
    lines = data.splitlines(keepends=True) or [b""]
    at = generator.randrange(len(lines))
    line = lines.pop(at)
    for _ in range(generator.randint(0, 2)):
        lines.insert(generator.randint(0, len(lines)), line)
    return b"".join(lines)


def _word(generator, data):
    """A word, cell or number replaced, or one put in."""
    begin = end = generator.randint(0, len(data))
    if generator.random() < 0.7:
        while begin > 0 and data[begin - 1] not in b" \t\n,:;[]{}\"'":
            begin -= 1
        while end < len(data) and data[end] not in b" \t\n,:;[]{}\"'":
            end += 1
    return data[:begin] + generator.choice(WORDS) + data[end:]


BYTES = (_flipped, _flipped, _cut, _removed, _spliced, _overwritten, _number, _number)
TEXT = (_lines, _lines, _word, _word, _word, _word)
