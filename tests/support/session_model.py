"""Sessions as a plain dict of streams: the oracle of their tests."""

from __future__ import annotations

import numpy as np


class DictOfStreams:
    """One stream per key, events one by one; the dict's order of insertion is the order of last use."""

    def __init__(self, gru, max_sessions=None, timeout=None, state_dtype=None):
        self.gru, self.max_sessions, self.timeout, self.state_dtype = gru, max_sessions, timeout, state_dtype
        self.streams, self.seen, self.clock = {}, {}, -np.inf

    def step(self, keys, x, times=None):
        return np.stack(
            [self.one(key, row, None if times is None else times[n]) for n, (key, row) in self.each(keys, x)]
        )

    @staticmethod
    def each(keys, x):
        return enumerate(zip(keys, x, strict=True))

    def one(self, key, row, time):
        if self.timeout is not None:
            self.expire(time)
        stream = self.streams.pop(key, None)
        if stream is None:
            if len(self.streams) == self.max_sessions:
                self.end(next(iter(self.streams)))
            stream = self.gru.stream()
        self.streams[key] = stream
        self.seen.pop(key, None)
        self.seen[key] = self.clock
        y = stream.step(row[None])[0]
        if self.state_dtype is not None:
            # float64 goes by way of float32.
            stream.h = stream.h.astype(np.float32).astype(self.state_dtype).astype(self.gru.dtype)
        return y

    def expire(self, now):
        self.clock = max(self.clock, now)
        over = [key for key, seen in self.seen.items() if self.clock - seen > self.timeout]
        for key in over:
            self.end(key)
        return len(over)

    def end(self, key):
        del self.streams[key], self.seen[key]

    def check(self, sessions):
        """Return whether `sessions` have the same keys and states."""
        assert len(sessions) == len(self.streams)
        keys = list(self.streams)
        if keys:
            expected = np.concatenate([stream.h for stream in self.streams.values()], axis=1)
            assert np.array_equal(sessions.states(keys), expected)
