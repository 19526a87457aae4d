"""A variable of the environment changes no byte under one machine class. A few here, all with `make claims`."""

import pytest

from conftest import FULL
from golden.variables import RUNS, VARIABLES, came_of, verdict

FEW = [("MKL_CBWR", "AUTO"), ("ONEDNN_MAX_CPU_ISA", "AVX2"), ("OMP_NUM_THREADS", "1")]
TRIED = VARIABLES if FULL else FEW


@pytest.fixture(scope="module")
def plain():
    return {run: came_of(run) for run in (RUNS if FULL else ["cartpole/vtrace"])}


@pytest.mark.parametrize(("variable", "value"), TRIED)
def test_it_changes_no_byte_or_the_class_says_so(plain, variable, value):
    for run, came in plain.items():
        assert "OTHER" not in verdict(came, came_of(run, variable, value)), run


def test_other_bytes_under_one_class_would_be_seen():
    plain = {"digest": "a", "machine_class": "c"}
    assert verdict(plain, {"digest": "b", "machine_class": "c"}) == "OTHER BYTES UNDER ONE CLASS"
    assert verdict(plain, {"digest": "b", "machine_class": "d"}) == "another class, other bytes"
    assert verdict(plain, dict(plain)) == "same bytes"
