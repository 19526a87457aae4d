import numpy as np

from hydrahive.core.streams import derived_seed, stream


def test_a_stream_depends_on_its_arguments_only():
    again = [stream(7, "act", 1, 2).random(5) for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_streams_of_other_seeds_purposes_and_places_differ():
    draws = {
        tuple(stream(*key).random(4))
        for key in [(7, "act", 1, 2), (8, "act", 1, 2), (7, "env", 1, 2), (7, "act", 2, 1)]
    }
    assert len(draws) == 4


def test_derived_seeds_fit_a_signed_32_bit_integer():
    assert all(0 <= derived_seed(seed, "env", 3) < 2**31 for seed in range(200))
