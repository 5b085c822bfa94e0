"""`python -m tests.mutation FILE…`: change the code and see which tests fail.

A file (cloud/claims.py, userdata/steps.sh) or a directory that has some (userdata/). Prints what was not noticed;
ends with 1 if that is more than a twentieth of a file's changes.
"""

from __future__ import annotations

import sys

from cloud.errors import CloudError, UsageError

from . import generated, listed
from .judges import JUDGES

WANTED = 0.95
"""Of the changes to a file, the share that is to be noticed or explained."""


def main(paths: list[str]) -> int:
    """Judge the files; returns the exit code."""
    own = {change.file for change in listed.changes()}
    known = sorted({*JUDGES, *own})
    fine = True
    for path in paths:
        files = [file for file in known if file == path or file.startswith(f"{path.rstrip('/')}/")]
        if not files:
            raise UsageError(f"no test judges {path!r}", fix=f"one of: {' '.join(known)}")
        for file in files:
            verdicts = [
                *([generated.judge(file)] if file in JUDGES else []),
                *([listed.judge(file)] if file in own else []),
            ]
            for verdict in verdicts:
                print(verdict, *verdict.survivors, sep="\n", flush=True)
                fine = fine and len(verdict.survivors) <= (1 - WANTED) * verdict.changes
    return 0 if fine else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except CloudError as error:
        print(error, file=sys.stderr)
        sys.exit(error.code)
