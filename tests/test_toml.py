"""What is written as TOML, the standard library's reader gives back."""

from __future__ import annotations

import math
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reparam.run import dump_toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # all of Unicode, control characters included
SCALAR = st.one_of(TEXT, st.integers(), st.booleans(), st.floats(allow_nan=False))
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
TABLE = st.dictionaries(TEXT, VALUE, max_size=6)


def same(a, b):
    """Equal, and of the same types: 1, 1.0 and True differ."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@settings(deadline=None)
@given(TABLE)
def test_tables_come_back(table):
    text = dump_toml(table)
    text.encode()
    assert same(tomllib.loads(text), table)


@pytest.mark.parametrize(
    "number", [1e-300, 1e22, -1e22, 1e16, 1.5e-7, 5e-324, 1.7976931348623157e308, 0.1, -0.0, 100.0, math.inf, -math.inf]
)
def test_floats_come_back_to_the_last_bit(number):
    back = tomllib.loads(dump_toml({"a": number, "b": [number], "c": {"d": number}}))
    for found in (back["a"], back["b"][0], back["c"]["d"]):
        assert isinstance(found, float)
        assert math.copysign(1, found) == math.copysign(1, number)
        assert found == number


def test_not_a_number_comes_back():
    assert math.isnan(tomllib.loads(dump_toml({"a": math.nan}))["a"])


def test_none_is_left_out_of_tables():
    table = {"a": None, "b": {"c": None, "d": 1}, "e": [{"f": None, "g": 2}]}
    assert tomllib.loads(dump_toml(table)) == {"b": {"d": 1}, "e": [{"g": 2}]}


def test_numbers_of_numpy_are_numbers():
    table = {"a": np.float64(0.1), "b": np.float32(0.5), "c": np.int64(3), "d": np.bool_(True), "e": (np.uint8(1), 2)}
    assert same(tomllib.loads(dump_toml(table)), {"a": 0.1, "b": 0.5, "c": 3, "d": True, "e": [1, 2]})


def test_keys_that_need_quotes():
    table = {"a.b": {"": {"c d": 1, 'x"y': 2, "é\n": 3}}, "a": {"b": 4}}
    assert tomllib.loads(dump_toml(table)) == table


@pytest.mark.parametrize("table", [{"a": object()}, {"a": [None]}, {"a": b"bytes"}, {"a": {1, 2}}, {"a": [{1: 2}]}])
def test_what_toml_cannot_say_is_refused(table):
    with pytest.raises(TypeError, match="TOML"):
        dump_toml(table)
