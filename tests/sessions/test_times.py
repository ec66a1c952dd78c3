"""Times of events: datetimes with and without a time zone, alone, in lists and in columns."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import numpy as np
import pytest

import rgru

SECONDS = [0.25, 1.5, 3.0, 7.75]
NAIVE = [datetime(1970, 1, 1) + timedelta(seconds=one) for one in SECONDS]
AWARE = [
    (one.replace(tzinfo=timezone.utc)).astimezone(timezone(timedelta(hours=hours)))
    for one, hours in zip(NAIVE, [0, 2, -7, 5.5], strict=True)
]
STAMPS = np.array(SECONDS) * 1e9


def pandas_series(zone, unit="ns"):
    import pandas

    return pandas.Series(pandas.to_datetime(STAMPS, utc=True)).dt.tz_convert(zone).dt.as_unit(unit)


def pyarrow_array(zone):
    import pyarrow as pa

    return pa.array(STAMPS.astype("datetime64[ns]"), pa.timestamp("ns", zone))


def polars_series(zone):
    import polars

    return polars.Series(STAMPS.astype("datetime64[ns]")).dt.replace_time_zone(zone)


FORMS = {
    "naive": lambda: NAIVE,
    "aware, of different zones": lambda: AWARE,
    "objects": lambda: np.array(AWARE, object),
    "datetime64": lambda: STAMPS.astype("datetime64[ns]"),
    "pandas, UTC": lambda: pandas_series("UTC"),
    "pandas, summer time": lambda: pandas_series("Europe/Berlin"),
    "pandas, microseconds": lambda: pandas_series("Asia/Tokyo", "us"),
    "pandas, no zone": lambda: pandas_series(None),
    "pandas, Arrow": lambda: pandas_series("UTC").astype("timestamp[ns, UTC][pyarrow]"),
    "pandas, an index": lambda: pandas_series("UTC").array,
    "pandas, timestamps": lambda: list(pandas_series("UTC")),
    "pyarrow": lambda: pyarrow_array(None),
    "pyarrow, a zone": lambda: pyarrow_array("Europe/Berlin"),
    "polars": lambda: polars_series(None),
    "polars, a zone": lambda: polars_series("UTC"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_dates_in_every_form_are_the_same_times(form):
    try:
        times = form()
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    sessions = rgru.Sessions(rgru.GRU(1, 2, seed=0), timeout=2.0)
    sessions.step([0, 1, 2, 3], np.zeros((4, 1), np.float32), times)
    assert sessions.keys().tolist() == [3]
    if isinstance(times, list):
        one = times[3]
        sessions.step([4], [[0.0]], one)
        assert sessions.expire(one + timedelta(seconds=2)) == 0
        assert sessions.expire(one + timedelta(seconds=2, microseconds=1)) == 2


def test_nanoseconds_of_pandas_are_kept():
    pandas = pytest.importorskip("pandas")
    sessions = rgru.Sessions(rgru.GRU(1, 2, seed=0), timeout=1e-6)
    first = pandas.Timestamp("1970-01-01T00:00:01", tz="UTC")
    sessions.step([1, 2], [[0.0], [0.0]], [first, first + pandas.Timedelta(1500, "ns")])
    assert sessions.keys().tolist() == [2]


@pytest.mark.parametrize(
    ("times", "error", "message"),
    [
        ([NAIVE[0], AWARE[0]], TypeError, "times: .*all with a time zone or all without, got another at position 1"),
        ([NAIVE[0], None], TypeError, "times: expected numbers .*datetimes, got NoneType at position 1"),
        ([NAIVE[0], date(2020, 1, 1)], TypeError, "times: expected .*, got date at position 1"),
        (["2020-01-01", NAIVE[0]], TypeError, "times: expected .*, got str at position 0"),
        ([NAIVE[0]], ValueError, r"times: expected one time or shape \(2,\), got shape \(1,\)"),
    ],
)
def test_invalid_times_are_refused(times, error, message):
    sessions = rgru.Sessions(rgru.GRU(1, 2, seed=0), timeout=1)
    with pytest.raises(error, match=message):
        sessions.step([1, 2], [[0.0], [0.0]], times)
    assert len(sessions) == 0


def test_missing_times_of_pandas_are_refused():
    pandas = pytest.importorskip("pandas")
    sessions = rgru.Sessions(rgru.GRU(1, 2, seed=0), timeout=1)
    times = pandas.Series([pandas.Timestamp(0, tz="UTC"), pandas.NaT])
    with pytest.raises(ValueError, match="times: expected dates, got NaT at position 1"):
        sessions.step([1, 2], [[0.0], [0.0]], times)
