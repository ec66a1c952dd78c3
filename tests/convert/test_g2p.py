"""The encoder and decoder of the wheel g2p_en on rgru, where the wheel is installed: its weights are not part of this.

`pip install --no-deps g2p_en==2.1.0` is enough. The reference is the wheel's own code, run step by step in NumPy.
"""

import importlib.util
import warnings

import numpy as np
import pytest

import g2p
import rgru

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(importlib.util.find_spec("g2p_en") is None, reason="g2p_en is not installed"),
]


@pytest.fixture(scope="module")
def model():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel's own: escape sequences, files that it leaves open
        found = g2p.original()
    yield found
    found.variables.close()


def test_predictions_of_a_hundred_words(model):
    """Equal phonemes, for all words at once and word by word."""
    words = g2p.words_of(100)
    ours = g2p.Speller(g2p.package())
    expected = [model.predict(word) for word in words]
    assert len({tuple(word) for word in expected}) > 90
    assert [[model.idx2p[one] for one in word] for word in ours.predict(words)] == expected
    assert [[model.idx2p[one] for one in ours.predict([word])[0]] for word in words] == expected


def test_states_of_the_encoder(model):
    """In float64, from the weights by name, to 1e-13; the wheel's own loop runs in float64, too."""
    names = ("enc_w_ih", "enc_w_hh", "enc_b_ih", "enc_b_hh")
    with np.load(g2p.package() / "checkpoint20.npz") as file:
        weights = {name: file[name].astype("float64") for name in (*names, "enc_emb")}
    x = weights["enc_emb"][np.random.default_rng(0).integers(29, size=(5, 12))]
    h, expected = np.zeros((5, 256)), []
    for t in range(12):
        h = model.grucell(x[:, t], h, *(weights[name] for name in names))
        expected.append(h)
    y, _ = rgru.from_torch(weights, "enc_")(x)
    assert np.abs(y - np.stack(expected, 1)).max() < 1e-13
