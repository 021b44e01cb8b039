"""A script that knows nothing of gradwatch, run as Python runs it, with every `fit` in it watched.

Nothing here loads TensorFlow, Keras or NumPy before the script does: it may still want to say by environment variables
how they shall behave.
"""

from gradwatch.running.fits import WatchedFits, WatchedRun
from gradwatch.running.program import Ending, Program, UnusableRunDirError

__all__ = ["Ending", "Program", "UnusableRunDirError", "WatchedFits", "WatchedRun"]
