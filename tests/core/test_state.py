import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydrahive.core.state import as_json_array, digest, digest_of_state, from_json_array, nested, under


def test_a_digest_tells_names_dtypes_shapes_and_values_apart():
    base = np.arange(6, dtype=np.int32)
    variants = [
        [("a", base)],
        [("b", base)],
        [("a", base.astype(np.int64))],
        [("a", base.reshape(2, 3))],
        [("a", base + 1)],
        [("a", base), ("b", base)],
    ]
    assert len({digest(variant) for variant in variants}) == len(variants)


def test_a_digest_does_not_depend_on_memory_layout_or_byte_order():
    array = np.arange(12, dtype=np.int32).reshape(3, 4)
    assert digest([("a", array)]) == digest([("a", np.asfortranarray(array))]) == digest([("a", array.astype(">i4"))])


def test_a_states_digest_does_not_depend_on_the_order_of_its_names():
    a, b = np.zeros(2), np.ones(3)
    assert digest_of_state({"a": a, "b": b}) == digest_of_state({"b": b, "a": a})


def test_nesting_is_undone_by_under():
    state = {"x": np.zeros(1), "y/z": np.ones(2)}
    assert under("shard", nested("shard", state)).keys() == state.keys()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists))
def test_plain_data_survives_as_an_array(value):
    assert from_json_array(as_json_array(value)) == value


def test_json_arrays_are_bytes():
    assert as_json_array({"a": 2**70}).dtype == np.uint8
    with pytest.raises(TypeError):
        as_json_array(object())
