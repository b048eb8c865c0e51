"""A process that was forked to be a command."""

import contextlib
import sys
import traceback
from collections.abc import Callable


def exit_code(run: Callable[[], object]) -> int:
    """Runs a main program; the code that Python would end with, all that was said written out."""
    code = 0
    try:
        run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(ValueError):  # it closed them
        sys.stdout.flush()
        sys.stderr.flush()
    return code
