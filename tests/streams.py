"""CUDA's streams and events, simulated: work is put into queues, and runs as late, as early or as oddly as told."""

from __future__ import annotations

from collections import deque

import numpy as np

LAZY, EAGER, RANDOM = "lazy", "eager", "random"


class Machine:
    """All streams of a device.

    Parameters
    ----------
    manner : str
        "lazy": work runs when somebody waits for it; "eager": at once; "random": some of it, whenever work is put.

    Attributes
    ----------
    held : list of Stream
        That are lazy all the same.
    """

    def __init__(self, manner=LAZY, seed=0):
        self.manner = manner
        self.random = np.random.default_rng(seed)
        self.streams = []
        self.held = []

    def stream(self, name=""):
        self.streams.append(Stream(self, name or f"stream {len(self.streams)}"))
        return self.streams[-1]

    def tick(self):
        if self.manner == LAZY:
            return
        free = [stream for stream in self.streams if stream not in self.held]
        while True:
            if self.manner == RANDOM:
                if self.random.random() < 0.5:
                    return
                free = [free[i] for i in self.random.permutation(len(free))]
            if not any(stream.step() for stream in free):
                return

    @property
    def idle(self):
        return not any(stream.work for stream in self.streams)


class Mark:
    """One recording of an event."""

    def __init__(self, stream):
        self.stream, self.passed = stream, False

    def reach(self):
        while not self.passed:
            if not self.stream.step():
                self.stream.work[0].reach()  # it waits for another


class Stream:
    def __init__(self, machine, name):
        self.machine, self.name, self.work = machine, name, deque()

    def put(self, action):
        self.work.append(action)
        self.machine.tick()

    def step(self):
        """Run the next piece of work; gives whether there was one that could run."""
        if not self.work:
            return False
        head = self.work[0]
        if isinstance(head, Mark):
            if not head.passed:
                return False
        else:
            head()
        self.work.popleft()
        return True

    def record(self, event):
        mark = event.mark = Mark(self)

        def passed():
            mark.passed = True

        self.put(passed)
        return event

    def wait_event(self, event):
        if event.mark is not None:
            self.put(event.mark)

    def synchronize(self):
        while self.work:
            if not self.step():
                self.work[0].reach()


class Event:
    mark = None

    def synchronize(self):
        if self.mark is not None:
            self.mark.reach()
