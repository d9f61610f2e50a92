"""What lies below a folder of the user's: links are followed, loops end, and what cannot be read is named."""

import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.sources.archives import names


@dataclass
class Found:
    """files, and folders that hold nothing, in no order; (path, reason) of faults, and of what was passed over."""

    files: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)
    faults: list[tuple[Path, str]] = field(default_factory=list)
    passed: list[tuple[Path, str]] = field(default_factory=list)


def below(folder):
    """All that lies below a folder, as `Found`.

    A link counts as what it leads to. Faults are links that lead nowhere and what may not be read; among hidden files
    and those of the system they are no one's loss and are passed over, as are pipes, devices and loops of links.
    """
    found = Found()
    waiting = [(Path(folder), ())]
    while waiting:
        place, through = waiting.pop()
        try:
            own = _identity(place.stat())
            inside = sorted(os.listdir(place))
        except OSError as error:
            _fault(found, folder, place, f"a folder that cannot be read ({error.strerror})")
            continue
        if own in through:
            found.passed.append((place, "a link that leads back to a folder that holds it"))
            continue
        if not inside:
            found.empty.append(place)
        for name in inside:
            _look(found, folder, place / name, (*through, own), waiting)
    return found


def _look(found, folder, path, through, waiting):
    """Sort one path into `found`, or, being a folder, among those that `waiting` holds."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        _fault(found, folder, path, _reason(path, error))
        return
    if stat.S_ISDIR(mode):
        waiting.append((path, through))
    elif not stat.S_ISREG(mode):
        found.passed.append((path, "a pipe, socket or device"))
    elif not os.access(path, os.R_OK):
        _fault(found, folder, path, "a file that may not be read (permission denied)")
    else:
        found.files.append(path)


def _identity(state):
    return state.st_dev, state.st_ino


def _reason(path, error):
    if error.errno == errno.ELOOP:
        return "a link that leads round in a circle"
    if path.is_symlink() and error.errno == errno.ENOENT:
        return f"a link to '{os.readlink(path)}', where nothing is"
    return f"not to be read ({error.strerror})"


def _fault(found, folder, path, reason):
    of_no_one = any(names.of_a_system(part) for part in path.relative_to(folder).parts)
    (found.passed if of_no_one else found.faults).append((path, reason))


def told(entries, most=3):
    """The first of some (path, reason), and how many more there are."""
    entries = sorted(entries)
    first = "; ".join(f"'{path}' is {reason}" for path, reason in entries[:most])
    return first + (f"; and {len(entries) - most:,} more" if len(entries) > most else "")
