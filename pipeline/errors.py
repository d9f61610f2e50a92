"""The one kind of error a user is meant to read, and how a stage shows it."""

import functools
import os
import sys
import traceback


class UserError(Exception):
    """Something the user can mend. The message is one line: what, where, what would be right."""


def first_of(names):
    """The first of some names in quotes, and how many more there are, for messages."""
    names = sorted(names)
    return f"'{names[0]}'" + (f" (and {len(names) - 1} more such)" if len(names) > 1 else "")


def one_line(main):
    """Wrap a stage's or command's `main`: a `UserError` becomes one line on stderr and exit status 1.

    A file system that is full or refuses is the user's to mend too, so an `OSError` is shown the same way.
    `ZSL_TRACEBACK=1` in the environment shows the traceback as well.
    """

    @functools.wraps(main)
    def run(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except (UserError, OSError) as error:
            if os.environ.get("ZSL_TRACEBACK"):
                traceback.print_exc()
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            sys.exit(1)

    return run
