"""Makes `benchmarks` importable, and the programs of these tests, in processes that runs are made in too."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[2]
for path in (ROOT, ROOT / "tests"):
    if str(path) not in sys.path:
        sys.path.append(str(path))
