"""Ids as the first feature: the bits of embedding and product, whole, ragged or streamed, and their gradients."""

import numpy as np
import pytest

import rgru

V, E, H = 11, 6, 5
rng = np.random.default_rng(0)
LENGTHS = np.array([7, 0, 4, 7])
STACK = {"bidirectional": True, "reset_after": True, "num_layers": 2}


def made(features=1, dtype="float64", **options):
    return rgru.GRU(features, H, vocabulary=V, embedding_size=E, dtype=dtype, seed=3, **options)


def batch(features=1, dtype="float64"):
    x = rng.standard_normal((4, 7, features)).astype(dtype)
    x[..., 0] = rng.integers(0, V, (4, 7))
    return x


def plain(gru):
    """Return a GRU without ids, and the function from ids to its inputs."""
    options = {"bidirectional": gru.bidirectional, "reset_after": gru.reset_after, "bias": gru.bias}
    other = rgru.GRU(gru.input_size - 1 + E, H, gru.num_layers, dtype=gru.dtype, **options)
    other.params.update({name: array for name, array in gru.params.items() if name != "embedding"})

    def embedded(x):
        return np.concatenate([gru.params["embedding"][x[..., 0].astype(int)], x[..., 1:]], axis=-1)

    return other, embedded


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.parametrize("options", [{}, STACK, {"bias": False}])
def test_the_table_has_the_bits_of_the_product(options, features, dtype):
    gru, x = made(features, dtype, **options), batch(features, dtype)
    other, embedded = plain(gru)
    expected = other(embedded(x), lengths=LENGTHS)
    for got in (gru(x, lengths=LENGTHS), gru.record(x, lengths=LENGTHS)[:2]):
        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_array_equal(got[1], expected[1])
    np.testing.assert_array_equal(gru.final_states(x, lengths=LENGTHS), expected[1])
    ragged = rgru.Ragged.from_padded(x, LENGTHS)
    values, _ = other(rgru.Ragged(embedded(ragged.values), ragged.offsets))
    np.testing.assert_array_equal(gru(ragged)[0].values, values.values)


@pytest.mark.parametrize("integer", ["int64", "uint8", "int32"])
def test_integers_are_ids(integer):
    gru, x = made(dtype="float32", reset_after=True), batch(dtype="float32")
    ids = x[..., 0].astype(integer)
    y, _ = gru(x)
    np.testing.assert_array_equal(gru(ids)[0], y)
    np.testing.assert_array_equal(gru(ids[..., None])[0], y)
    np.testing.assert_array_equal(gru(ids.tolist())[0], y)
    stream, sessions = gru.stream(4), rgru.Sessions(gru)
    for t in range(7):
        np.testing.assert_array_equal(stream.step(ids[:, t]), y[:, t])
        np.testing.assert_array_equal(sessions.step(np.arange(4), ids[:, t, None]), y[:, t])
    np.testing.assert_array_equal(gru.stream(4).step(x[:, 0]), y[:, 0])


def test_with_resets_and_traces():
    gru, x, resets = made(3, bidirectional=True), batch(3), rng.random((4, 7)) < 0.3
    other, embedded = plain(gru)
    np.testing.assert_array_equal(gru(x, resets=resets)[0], other(embedded(x), resets=resets)[0])
    np.testing.assert_array_equal(gru.trace(x).layers[0].rev.z, other.trace(embedded(x)).layers[0].rev.z)


@pytest.mark.parametrize("features", [1, 3])
def test_gradients(features):
    gru, x = made(features, num_layers=2), batch(features)
    other, embedded = plain(gru)
    y, h_n, tape = gru.record(x, lengths=LENGTHS)
    dy, dh_n = rng.standard_normal(y.shape), rng.standard_normal(h_n.shape)
    gradients = tape.backward(dy, dh_n)
    expected = other.record(embedded(x), lengths=LENGTHS)[2].backward(dy, dh_n)
    for name, array in expected.params.items():
        np.testing.assert_array_equal(gradients.params[name], array)
    np.testing.assert_array_equal(gradients.x[..., 1:], expected.x[..., E:])
    assert not gradients.x[..., 0].any()
    table = np.zeros((V, E))
    for n, length in enumerate(LENGTHS):
        for t in range(length):
            table[int(x[n, t, 0])] += expected.x[n, t, :E]
    np.testing.assert_allclose(gradients.params["embedding"], table, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [(2, 0, 1), (0, 3, 1)])
def test_gradients_of_batches_without_steps(shape):
    gru = made()
    y, _, tape = gru.record(np.zeros(shape))
    gradients = tape.backward(np.ones_like(y))
    assert gradients.x.shape == shape
    assert not gradients.flat.any()


def test_padding_may_hold_anything():
    gru, x = made(dtype="float32"), batch(dtype="float32")
    ids = x[..., 0].astype(int)
    for n, length in enumerate(LENGTHS):
        x[n, length:], ids[n, length:] = np.nan, -100
    y, _, tape = gru.record(x, lengths=LENGTHS)
    assert np.isfinite(tape.backward(np.ones_like(y)).flat).all()
    np.testing.assert_array_equal(gru(x, lengths=LENGTHS)[0], y)
    np.testing.assert_array_equal(gru(ids, lengths=LENGTHS)[0], y)


def test_files_copies_and_changes(tmp_path):
    gru, x = made(2), batch(2)
    gru.save(tmp_path / "gru")
    again = rgru.load(tmp_path / "gru")
    assert repr(again) == repr(gru) == "GRU(2, 5, dtype='float64', vocabulary=11, embedding_size=6)"
    np.testing.assert_array_equal(again(x)[0], gru(x)[0])
    before = gru(x)[0]
    gru.params["embedding"] = gru.params["embedding"] + 1
    assert not np.array_equal(gru(x)[0], before)  # the table is made anew
    gru.record(x)
    np.testing.assert_array_equal(gru(x)[0], gru.record(x)[0])


def test_an_estimator_learns_an_embedding(tmp_path):
    ids = rng.integers(0, V, (200, 9))
    labels = (ids[:, -1] % 3 == 0).astype(int)
    options = {"vocabulary": V, "embedding_size": E}
    model = rgru.GRUClassifier(hidden_size=8, max_epochs=30, gru_options=options, random_state=0)
    model.fit(ids[..., None].astype("float32"), labels)
    assert model.score(ids[..., None].astype("float32"), labels) > 0.95
    model.save(tmp_path / "model")
    again = rgru.load(tmp_path / "model")
    np.testing.assert_array_equal(
        again.predict(ids[..., None].astype("f4")), model.predict(ids[..., None].astype("f4"))
    )
    with pytest.raises(ValueError, match="ids from 0 to 10 in feature 0"):
        model.predict(np.full((1, 9, 1), 20, "float32"))


@pytest.mark.parametrize("wrong", [-1, V, 0.5, np.nan, np.inf, 1e30])
def test_what_is_no_id_is_refused(wrong):
    gru, x = made(2), batch(2)
    x[2, 3, 0] = wrong
    message = rf"x: expected ids from 0 to {V - 1} in feature 0, got .* in sequence 2, step 3 \(counted from 0\)"
    for run in (gru, gru.final_states, gru.record):
        with pytest.raises(ValueError, match=message):
            run(x)
    with pytest.raises(ValueError, match=r"x: expected ids from 0 to 10 in feature 0"):
        gru.stream(1).step(x[2:3, 3])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"vocabulary, embedding_size: expected both or neither, got vocabulary=3"):
        rgru.GRU(1, 4, vocabulary=3)
    with pytest.raises(ValueError, match=r"vocabulary: expected an integer from 1 to 16777216"):
        rgru.GRU(1, 4, vocabulary=2**24 + 1, embedding_size=2)
    gru = made(dtype="float32")
    with pytest.raises(ValueError, match=r"x: expected ids from 0 to 10 in feature 0, got 50 in sequence 0, step 0"):
        gru(np.full((1, 2), 50))
    with pytest.raises(TypeError, match="x: expected"):
        rgru.GRU(3, 4)(np.zeros((1, 2, 3), np.int64))


def test_positions_in_errors_are_those_of_the_batch():
    gru = made(dtype="float32")
    ids = np.array([[V, 0, V], [0, 0, 0]])
    mask = np.array([[False, True, True], [True, True, True]])
    for run in (gru, gru.record, gru.trace):
        with pytest.raises(ValueError, match=r"got 11 in sequence 0, step 2 \(counted"):
            run(ids, mask=mask)
        with pytest.raises(ValueError, match=r"got 11 in sequence 0, step 2 \(counted"):
            run(ids[::-1][[1, 0]], resets=np.eye(2, 3, 1, dtype=bool), mask=mask)
        with pytest.raises(ValueError, match=r"got 99 in sequence 1, step 1 \(counted"):
            run(rgru.Ragged(np.array([[1], [1], [1], [99]], np.float32), [0, 2, 4]))
    model = rgru.GRUClassifier(hidden_size=4, max_epochs=1, gru_options={"vocabulary": V, "embedding_size": E})
    x = np.zeros((30, 4, 1), np.float32)
    x[20, 1] = 50
    with pytest.raises(ValueError, match=r"X: expected ids from 0 to 10 in feature 0, got 50 in sequence 20, step 1"):
        model.fit(x, [0, 1] * 15)
    model.fit(np.zeros_like(x), [0, 1] * 15)
    with pytest.raises(ValueError, match=r"X: expected ids .* got 50 in sequence 20, step 1"):
        model.predict(x)


def test_recordings_check_sizes_as_calls_do():
    gru = made(dtype="float32")
    with pytest.raises(ValueError, match=r"lengths: expected shape \(2,\), got \(3,\)"):
        gru.record(np.zeros((2, 3), int), lengths=[1, 2, 3])
    for features in (0, 3):
        with pytest.raises(ValueError, match=rf"x: expected 2 features \(input_size\), got {features}"):
            made(2).record(np.zeros((1, 2, features)))


def test_what_is_no_id_is_null_where_errors_are():
    import pyarrow as pa

    gru = made(dtype="float32")
    sessions = rgru.Sessions(gru)
    y = sessions.step([1, 2], [0, 50], on_error="null")
    np.testing.assert_array_equal(np.isnan(np.ma.filled(y, np.nan)).any(axis=1), [False, True])
    column = pa.array([[1, 2], [3, 50], [4]], pa.list_(pa.int64()))
    result = rgru.arrow.predict(gru, column, on_error="null")
    assert pa.array(result).is_null().to_pylist() == [False, True, False]
    with pytest.raises(
        ValueError, match=r"column: expected ids from 0 to 10 in feature 0, got 50 in sequence 1, step 1"
    ):
        rgru.arrow.predict(gru, column)
    options = {"vocabulary": V, "embedding_size": E}
    model = rgru.GRUClassifier(hidden_size=4, max_epochs=1, gru_options=options)
    model.fit(np.zeros((10, 4, 1), np.float32), [0, 1] * 5)
    assert pa.array(rgru.arrow.predict(model, column, on_error="null")).is_null().to_pylist() == [False, True, False]


def test_masked_arrays_are_refused():
    gru, masked = made(dtype="float32"), np.ma.array([[0, 1, 2]], mask=[[0, 1, 0]])
    for run in (
        gru,
        gru.record,
        lambda x: gru.stream(3).step(x[0]),
        lambda x: rgru.Sessions(gru).step([1, 2, 3], x[0]),
    ):
        with pytest.raises(TypeError, match=r"x: expected .* got a masked array"):
            run(masked)
