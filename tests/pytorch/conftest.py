"""Every test draws the same parameters each time."""

import pytest


@pytest.fixture(autouse=True)
def seeded():
    pytest.importorskip("torch").manual_seed(0)
