# SPDX-License-Identifier: GPL-2.0
"""How much slower than alone this machine is at the moment, and a clock that goes as slowly.

A guest shares the host's processors with whatever runs there, and its clock goes on meanwhile. A
limit in seconds of that clock would tell more of the host than of the program. So limits are
measured in seconds of work: a second counts less, the longer a small fixed piece of work takes in
it. The shortest time that the piece ever took is what it takes alone, because it is short enough to
be done between two interruptions.
"""

import threading
import time

PIECES, MOST, INTERVAL = 10, 8.0, 1.0


def piece():
    """The seconds of a small piece of work."""
    began = time.perf_counter()
    total = 0
    for number in range(3000):
        total += number
    return time.perf_counter() - began


class WorkClock:
    """now() is in seconds of work since it was made."""

    def __init__(self, measure=piece, clock=time.monotonic):
        self._measure, self._clock = measure, clock
        self._alone = min(measure() for _ in range(20 * PIECES))
        self._last, self._now = clock(), 0.0
        self._load = 1.0
        self._lock = threading.Lock()

    def start(self):
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def _run(self):
        while True:
            time.sleep(INTERVAL)
            self.step()

    def step(self):
        """Looks how fast the machine is, and adds what has passed."""
        times = [self._measure() for _ in range(PIECES)]
        with self._lock:
            self._alone = min(self._alone, *times)
            load = min(MOST, max(1.0, sum(times) / PIECES / self._alone))
            # What a few milliseconds show is chance; what stays is the load.
            self._load += (load - self._load) / 4
            passed = self._clock()
            self._now += (passed - self._last) / self._load
            self._last = passed

    def now(self):
        with self._lock:
            return self._now + (self._clock() - self._last) / self._load

    def load(self):
        with self._lock:
            return self._load
