"""The one kind of error a user is meant to read, and how a stage shows it."""

import functools
import os
import sys
import traceback
from pathlib import Path

# characters of a message; what is longer hides the terminal's other lines
LONGEST = 2000
KEPT = Path("data/.records/error.txt")
# what PyTorch calls it where memory runs out: on a GPU, in its libraries, on a processor
OUT_OF_MEMORY = ("OutOfMemoryError", "out of memory", "ALLOC_FAILED", "can't allocate memory")


class UserError(Exception):
    """Something the user can mend. The message is one line: what, where, what would be right."""


def first_of(names):
    """The first of some names in quotes, and how many more there are, for messages."""
    names = sorted(names)
    return f"'{names[0]}'" + (f" (and {len(names) - 1} more such)" if len(names) > 1 else "")


def one_line(main):
    """Wrap a stage's or command's `main`: a `UserError` becomes one line on stderr and exit status 1.

    A file system that is full or refuses, and memory that does not suffice, are the user's to mend too and are shown
    the same way. `ZSL_TRACEBACK=1` in the environment shows the traceback as well. A message stays short: of a long
    one the beginning is shown, and all of it is in a file.
    """

    @functools.wraps(main)
    def run(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except Exception as error:
            if (text := message(error)) is None:
                raise
            if os.environ.get("ZSL_TRACEBACK"):
                traceback.print_exc()
            print(f"error: {_short(' '.join(text.split()))}", file=sys.stderr)
            sys.exit(1)

    return run


def _short(text):
    if len(text) <= LONGEST:
        return text
    shown = f"{text[:LONGEST]} ... ({len(text):,} characters"
    try:
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(f"{text}\n", encoding="utf-8", errors="backslashreplace")
    except OSError:
        return f"{shown})"
    return f"{shown}, all in {KEPT})"


def _lacks_memory(error):
    """Whether an exception says that memory ran out; known by its words, for light stages do not import PyTorch."""
    text = f"{type(error).__name__} {error}"
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY)
    )


def message(error):
    """What to tell the user of an exception, or None where it is not the user's to mend."""
    if isinstance(error, (UserError, OSError)):
        return str(error)
    if _lacks_memory(error):
        return (
            f"memory does not suffice ({type(error).__name__}: {str(error)[:160]}); what helps is a smaller batch "
            "(features.batch, finetune.batch, the model's batch), fewer features made up for the classifier (synthetic "
            "or proportion; seen_samples, unseen_samples, czsl_samples), or another run.device in params.yaml"
        )
    return None
