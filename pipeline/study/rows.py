"""The rows of a study, a line of JSON a training: appended when made, none twice, none torn."""

import contextlib
import fcntl
import json
import os


def read(path):
    """The rows made so far; a last line that a kill cut off does not count."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict):
                rows.append(row)
    return rows


def append(path, row):
    """Add one row, unless one of its key and variant is there; processes side by side wait for each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        named = row["key"], row["variant"]
        if any((there.get("key"), there.get("variant")) == named for there in read(path)):
            return
        end = file.seek(0, os.SEEK_END)
        # a line that a kill cut off is not gone on with
        torn = end and not path.read_bytes().endswith(b"\n")
        try:
            file.write(b"\n" * torn + f"{json.dumps(row)}\n".encode())
            file.flush()
        except OSError:
            # of a disk that is full, not half a row
            with contextlib.suppress(OSError):
                file.truncate(end)
            raise
