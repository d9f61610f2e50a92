"""How the tests have worker processes started."""

import contextlib
import multiprocessing


@contextlib.contextmanager
def started_by(method):
    """Within it, processes start by this method where no other is asked for, as if it were the platform's default."""
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(method, force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)
