"""Keeping each worker on a core of its own.

One interpreter computes on one core at a time, whatever the number of its threads. Left to itself the
system wakes each thread on whichever core is free, and every hand-over of the interpreter then moves the
work to a core whose caches know nothing of it (bench/README.md has what that costs).
"""

import os
import random
from collections import Counter
from typing import Any, Final

_CORE: Final = "core"  # of a gunicorn worker object: it lives in the master, with the worker's process id


def choose_core(arbiter: Any, worker: Any) -> None:
    """gunicorn's `pre_fork` hook: give a new worker the core that the fewest of the others have."""
    taken = Counter(getattr(other, _CORE, None) for other in arbiter.WORKERS.values())
    cores = list(os.sched_getaffinity(0))
    random.shuffle(cores)  # several services on one machine must not all begin with its first core
    setattr(worker, _CORE, min(cores, key=taken.__getitem__))


def stay_on_core(_: Any, worker: Any) -> None:
    """gunicorn's `post_fork` hook: bind the process, and so all threads that it will start."""
    os.sched_setaffinity(0, {getattr(worker, _CORE)})
