"""Keys in every form: which are equal, and which are refused."""

import numpy as np
import pytest

import rgru

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
WORDS = ["ada", "", "Grüße", "日本語"]
BYTES = [b"ada", b"", b"\xff\x00\x01", b"x" * 40]


@pytest.fixture
def sessions():
    return rgru.Sessions(rgru.GRU(3, 4, seed=0))


def forms(values, arrow_types):
    yield "list", values
    yield "tuple", tuple(values)
    yield "objects", np.array(values, object)
    for library, make in LIBRARIES.items():
        for kind in arrow_types.get(library, [None]):
            yield f"{library} {kind}", lambda make=make, kind=kind: make(values, kind)


def pyarrow_array(values, kind):
    import pyarrow as pa

    if kind == "chunked":
        return pa.chunked_array([pa.array(values[:1]), pa.array(values[1:])])
    if kind == "slice":
        return pa.array([*values[:1] * 3, *values, *values[:1]]).slice(3, len(values))
    if kind == "dictionary":
        return pa.array(values).dictionary_encode()
    return pa.array(values, getattr(pa, kind)())


def pandas_series(values, kind):
    import pandas as pd

    return pd.Series(values, dtype=kind, index=range(5, 5 + len(values)))


def polars_series(values, kind):
    import polars as pl

    return pl.Series(values, dtype=kind and getattr(pl, kind))


LIBRARIES = {"pyarrow": pyarrow_array, "pandas": pandas_series, "polars": polars_series}
NEEDED = {"pyarrow": ["pyarrow"], "pandas": ["pandas"], "polars": ["polars"]}

TEXT_TYPES = {
    "pyarrow": ["string", "large_string", "string_view", "chunked", "slice", "dictionary"],
    "pandas": ["object", "string", "category"],
    "polars": ["String", "Categorical"],
}
BYTE_TYPES = {"pyarrow": ["binary", "large_binary", "chunked", "slice"], "pandas": ["object"]}
INT_TYPES = {
    "pyarrow": ["int8", "int64", "uint32", "chunked", "slice", "dictionary"],
    "pandas": ["int64", "int32", "Int64", "object"],
}
CASES = [
    pytest.param(values, form, id=f"{name} {title}")
    for name, values, types in [
        ("int", [3, -1, 0, 5], INT_TYPES),
        ("str", WORDS, TEXT_TYPES),
        ("bytes", BYTES, BYTE_TYPES),
    ]
    for title, form in forms(values, types)
    if not (name == "int" and "uint32" in title)
]


@pytest.mark.parametrize(("values", "form"), CASES)
def test_the_same_keys_in_every_form(sessions, values, form):
    if callable(form):
        try:
            form = form()
        except ModuleNotFoundError as error:
            pytest.skip(f"{error.name} is not installed")
    sessions.step(values, X)
    expected = sessions.states(values)
    assert np.array_equal(sessions.states(form), expected)
    sessions.step(form, X)
    assert len(sessions) == 4
    assert all(value in sessions for value in values)
    assert sessions.drop(form) == 4


@pytest.mark.parametrize("dtype", ["int8", ">i4", "uint16", "uint64", ">i8"])
def test_integers_of_numpy(sessions, dtype):
    sessions.step(np.array([1, 2, 3, 4], dtype), X)
    assert np.array_equal(sessions.states([4, 3, 2, 1]), sessions.states(np.array([4, 3, 2, 1])))
    assert np.int16(2) in sessions


@pytest.mark.parametrize("dtype", ["U", "<U8", ">U8"])
def test_strings_of_numpy(sessions, dtype):
    sessions.step(np.array(WORDS, dtype), X)
    assert sessions.drop(WORDS) == 4
    sessions.step(np.array([*WORDS, "more"], dtype)[3::-1], X)
    assert sessions.drop(WORDS) == 4


def test_bytes_of_numpy(sessions):
    sessions.step(np.array(BYTES[:2] * 2, "S"), X)
    assert len(sessions) == 2
    assert sessions.drop(BYTES[:2]) == 2


def test_numpys_string_type(sessions):
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("NumPy 2 has it")
    sessions.step(np.array(WORDS, np.dtypes.StringDType()), X)
    assert sessions.drop(WORDS) == 4


def test_trailing_zeros_of_a_string_in_a_list_are_significant(sessions):
    sessions.step(["a", "a\0", "a\0\0", "b"], X)
    assert len(sessions) == 4
    assert "a\0" in sessions


def test_one_long_string_costs_no_more_than_itself(sessions):
    keys = [str(n) for n in range(20_000)] + ["k" * 10_000_000]  # as an array of NumPy's strings, 800 GB
    sessions.step(keys, np.zeros((len(keys), 3), np.float32))
    assert keys[-1] in sessions


def test_strings_are_neither_bytes_nor_numbers(sessions):
    sessions.step(["1"] * 4, X)
    assert b"1" not in sessions
    assert 1 not in sessions
    for others in ([b"1"], [1]):
        with pytest.raises(TypeError, match=r"keys: expected keys of type str as before, got (bytes|int)"):
            sessions.step(others, X[:1])
        with pytest.raises(TypeError, match=r"keys: expected keys of type str"):
            sessions.drop(others)
    assert sessions.step([], X[:0]).shape == (0, 4)


@pytest.mark.parametrize("keys", [[3, -1, 0, 5], WORDS, BYTES])
@pytest.mark.parametrize("bounds", [{}, {"max_sessions": 4}])
def test_all_keys(keys, bounds):
    sessions = rgru.Sessions(rgru.GRU(3, 4, seed=0), **bounds)
    assert sessions.keys().shape == (0,)
    sessions.step(keys, X)
    sessions.step(keys[:1], X[:1])
    found = sessions.keys()
    assert found.dtype == (np.int64 if keys[0] == 3 else object)
    assert found.tolist() == [*keys[1:], keys[0]] if bounds else {*found} == {*keys}
    assert np.array_equal(sessions.states(found)[:, -1:], sessions.states(found[-1:]))
    sessions.drop(keys[1:])
    assert sessions.keys().tolist() == keys[:1]


def test_all_64_bits_are_significant(sessions):
    keys = [2**63 - 1, -(2**63), 0, -1]
    sessions.step(keys, X)
    assert all(key in sessions for key in keys)
    assert len(sessions) == 4


def test_many_keys_of_different_lengths(sessions):
    rng = np.random.default_rng(0)
    keys = list({"k" * int(n) + str(m) for n, m in rng.integers(0, 60, (5000, 2))})
    sessions.step(keys, np.zeros((len(keys), 3), np.float32))
    assert len(sessions) == len(keys)
    assert sessions.drop(keys[::2]) == len(keys[::2])
    assert all(key in sessions for key in keys[1::2])
    assert not any(key in sessions for key in keys[::2])


def arrow_nulls():
    import pyarrow as pa

    return pa.array([1, None])


@pytest.mark.parametrize(
    ("keys", "error", "words"),
    [
        ([1.0, 2.0], TypeError, "keys: expected int, str or bytes, got <class 'float'> at position 0"),
        (np.array([1.0, 2.0]), TypeError, "keys: expected a vector of integers, strings or bytes, got float64"),
        ([True, False], TypeError, "keys: expected int, str or bytes, got <class 'bool'> at position 0"),
        (np.array([True, False]), TypeError, "keys: .* got bool"),
        ([1, "a"], TypeError, "keys: expected int, like the first key, got <class 'str'> at position 1"),
        (["a", 1], TypeError, "keys: expected the type of the first key, got <class 'int'> at position 1"),
        (["a", None], TypeError, "keys: .* got <class 'NoneType'> at position 1"),
        ([b"a", "a"], TypeError, "keys: .* got <class 'str'> at position 1"),
        ("ab", TypeError, "keys: expected a vector of integers, strings or bytes, got one str"),
        (None, (TypeError, ValueError), "keys: expected"),
        (5, ValueError, r"keys: expected 1 dimension \(M,\), got shape \(\)"),
        (np.zeros((2, 1), int), ValueError, r"keys: expected 1 dimension \(M,\), got shape \(2, 1\)"),
        ([[1], [2]], (TypeError, ValueError), "keys: expected"),
        (
            np.array([1, 2**63], np.uint64),
            ValueError,
            r"keys: expected integers below 2\*\*63, got 9223372036854775808",
        ),
        ([1, 2**70], ValueError, "keys: expected integers of 64 bits, got 1180591620717411303424"),
        (np.array([0, 1], "M8[s]"), TypeError, "keys: .* got datetime64"),
        (np.ma.masked_array([1, 2], [True, False]), TypeError, "keys: .* masked array"),
        (["a", "\ud800"], ValueError, "keys: expected Unicode letters, got half of a pair at position 1"),
        (arrow_nulls, ValueError, "keys: expected no nulls, got 1"),
    ],
)
def test_invalid_keys_are_refused(sessions, keys, error, words):
    if callable(keys):
        pytest.importorskip("pyarrow")
        keys = keys()
    for call in (lambda: sessions.step(keys, X[:2]), lambda: sessions.drop(keys), lambda: sessions.states(keys)):
        with pytest.raises(error, match=words):
            call()
    assert len(sessions) == 0


def test_invalid_keys_of_the_operator_in(sessions):
    with pytest.raises(TypeError, match=r"key: expected int, str or bytes, got <class 'float'>"):
        _ = 1.5 in sessions


def test_arrow_columns_of_other_types_are_refused(sessions):
    pa = pytest.importorskip("pyarrow")
    with pytest.raises(TypeError, match=r"keys: .* got double"):
        sessions.step(pa.array([1.0, 2.0]), X[:2])
    pl = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"keys: expected a vector of integers, strings or bytes, got Series \("):
        sessions.step(pl.Series([1, 2], dtype=pl.Int128), X[:2])
