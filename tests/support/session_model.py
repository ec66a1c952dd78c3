"""Sessions as a plain dict of streams: the oracle of their tests; and what these run on."""

from __future__ import annotations

import numpy as np

import rgru
from layer_cases import with_biases


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


def a_gru(*sizes, **more):
    """A GRU whose biases are not 0, of 3 features and 8 units unless other sizes are given."""
    return with_biases(rgru.GRU(*(sizes or (3, 8)), seed=0, **more))


def random_batches(rng, count, keys, features, most=40):
    """Batches of random sizes, with keys that repeat."""
    for _ in range(count):
        m = int(rng.integers(0, most + 1))
        yield rng.integers(0, keys, m), rng.standard_normal((m, features))
