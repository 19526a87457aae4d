"""T6, by the labels alone; on a real cluster by `make claims` (`test_dishonest.py`)."""

import pytest
import ray

from hydrahive.runtime.cluster import capacity
from hydrahive.runtime.cluster.capacity import is_own, trusted_selector

NODES = {
    "plain": {},
    "mine": {"hydrahive.owner": "me", "hydrahive.volunteer": "yes"},
    "alices": {"hydrahive.owner": "alice", "hydrahive.volunteer": "yes"},
    "bobs": {"hydrahive.owner": "bob"},
    "nobodys": {"hydrahive.volunteer": "yes"},
}


@pytest.fixture(autouse=True)
def cluster(monkeypatch):
    """Five nodes, for a run of `me`."""
    nodes = [{"NodeID": name, "Labels": labels, "Alive": True} for name, labels in NODES.items()]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(capacity, "run_user", lambda: "me")


def test_nodes_of_ones_own():
    assert {name for name in NODES if is_own(name)} == {"plain", "mine"}


def test_the_selector_holds_for_whoever_joins_later():
    """Others' accounts are named; a volunteer of an account that nobody has seen yet has the label of all volunteers."""
    assert trusted_selector() == {"hydrahive.volunteer": "!yes", "hydrahive.owner": "!in(alice,bob)"}
