"""What ./inv starts: invoke's own command line, with our last resort in place before it reads its first file."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from invoke.main import program  # noqa: E402

from cloud import mishaps  # noqa: E402

mishaps.take_over()
program.run()
