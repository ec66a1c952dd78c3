"""Phonemes of words by the encoder and decoder of the wheel g2p_en: rgru beside the wheel's own NumPy.

After ``pip install --no-deps g2p_en==2.1.0``: ``OPENBLAS_NUM_THREADS=1 python benches/g2p.py``. NumPy's products are
small, and its threads wait for each other where another program runs. The predictions are compared before they are
timed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

import rgru
from clock import interleaved

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

START, END, STEPS = 2, 3, 20
"""The ids of the phonemes that begin and end a word, and the most phonemes of one."""


def package() -> Path:
    """Return the folder of the installed package, without importing it: that would download dictionaries."""
    found = importlib.util.find_spec("g2p_en")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("g2p_en is not installed: pip install --no-deps g2p_en==2.1.0")
    return Path(found.origin).parent


def original() -> Any:
    """Return the wheel's own model, with stand-ins for the dictionaries and taggers that `predict` does not use."""
    names = ("nltk", "nltk.corpus", "nltk.tokenize", "inflect")
    stubs = {name: mock.MagicMock(spec=ModuleType(name)) for name in names}
    for name, attributes in (("nltk", ("pos_tag", "data")), ("nltk.corpus", ("cmudict",)), ("inflect", ("engine",))):
        for attribute in attributes:
            setattr(stubs[name], attribute, mock.MagicMock())
    stubs["nltk.tokenize"].TweetTokenizer = mock.MagicMock()
    with mock.patch.dict(sys.modules, stubs):
        return importlib.import_module("g2p_en").G2p()


def with_ids(weights: Mapping[str, Any], prefix: str) -> rgru.GRU:
    """Return a GRU of the weights that reads ids of letters or phonemes in the place of their embeddings."""
    plain, embedding = rgru.from_torch(weights, prefix), weights[f"{prefix}emb"]
    sizes = dict(zip(("vocabulary", "embedding_size"), embedding.shape, strict=True))
    gru = rgru.GRU(1, plain.hidden_size, reset_after=True, **sizes)
    gru.params.update({**plain.params, "embedding": embedding})
    return gru


class Speller:
    """The same model on rgru: all words at once through the encoder, then a stream of steps of the decoder."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "checkpoint20.npz") as weights:
            self.encoder, self.decoder = with_ids(weights, "enc_"), with_ids(weights, "dec_")
            self.head, self.bias = np.ascontiguousarray(weights["fc_w"].T), weights["fc_b"]

    def predict(self, words: Sequence[str]) -> list[list[int]]:
        """Return the ids of the phonemes of each word."""
        ids = [[3 + ord(c) - ord("a") if "a" <= c <= "z" else 1 for c in word] + [2] for word in words]
        offsets = np.cumsum([0, *map(len, ids)])
        stream = self.decoder.stream(len(words))
        stream.h = self.encoder.final_states(rgru.Ragged(np.concatenate(ids)[:, None], offsets))
        found: list[list[int]] = [[] for _ in words]
        running, last = np.arange(len(words)), np.full(len(words), START)
        for _ in range(STEPS):
            last = (stream.step(last) @ self.head + self.bias).argmax(1)
            going = last != END
            if not going.any():
                break
            if not going.all():  # words that have ended leave the batch
                h = stream.h[:, going]
                running, last, stream = running[going], last[going], self.decoder.stream(h.shape[1])
                stream.h = h
            for word, phoneme in zip(running, last, strict=True):
                found[word].append(int(phoneme))
        return found


def words_of(count: int) -> list[str]:
    """Return invented words of one to four syllables."""
    random = np.random.default_rng(0)
    starts, middles, ends = (
        ["b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "tr", "pl", "ch"],
        ["a", "e", "i", "o", "u", "ee", "ou", "ai"],
        "n r st ck",
    )
    syllables = [a + b + c for a in starts for b in middles for c in ("", *ends.split())]
    return ["".join(random.choice(syllables, random.integers(1, 5))) for _ in range(count)]


def main() -> None:
    model, ours, words = original(), Speller(package()), words_of(100)
    expected = [model.predict(word) for word in words]
    assert [[model.idx2p[one] for one in word] for word in ours.predict(words)] == expected
    print(f"{len(words)} words, {sum(map(len, expected))} phonemes, all equal; microseconds for a word:")
    times = interleaved(
        {
            "g2p_en": lambda: [model.predict(word) for word in words],
            "rgru, word by word": lambda: [ours.predict([word]) for word in words],
            "rgru, all at once": lambda: ours.predict(words),
        },
        rounds=7,
    )
    for name, seconds in times.items():
        print(f"{name:20} {seconds / len(words) * 1e6:10.1f} {times['g2p_en'] / seconds:7.1f} x")


if __name__ == "__main__":
    main()
