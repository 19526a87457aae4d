"""Who is audited, and how far a fault reaches back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydrahive.core.errors import ConfigError
from hydrahive.ledger.audit_rules import AuditConfig, Standings, node_of

SECRET = b"s" * 32


def honest(times, config=None):
    standings = Standings(config or AuditConfig())
    for i in range(times):
        standings.note(["node"], 25 * i, in_full=True)
    return standings


def test_every_interval_until_ten_are_valid_in_a_row_then_fewer_and_fewer():
    assert [honest(n).share("node") for n in (0, 5, 9)] == [1.0, 1.0, 1.0]
    assert [honest(n).share("node") for n in (10, 20, 100)] == [0.1, 0.05, 0.01]
    assert honest(100, AuditConfig(at_least=0.25)).share("node") == 0.25


def test_an_invalid_one_resets_and_names_where_belief_ends():
    standings = honest(12)
    standings.note(["node"], 300, in_full=False)
    standings.note(["node"], 325, in_full=False)
    assert standings.catch("node", 350) == 300
    assert standings.share("node") == 1.0
    assert honest(12).catch("node", 350) == 350


def test_the_way_back_reaches_as_far_as_the_window():
    standings = honest(12)
    standings.note(["node"], 300, in_full=False)
    standings.note(["other"], 350, in_full=False)
    assert standings.way_back(400, 100) == 300
    assert standings.way_back(425, 100) == 350
    assert standings.way_back(1000, 100) is None
    standings.go_back(325)
    assert standings.unverified == {"node": 300}


def test_nobody_can_foresee_the_draw_but_it_can_be_repeated():
    standings = honest(20)
    draws = [standings.is_drawn(SECRET, 0, 0, r, ["node"]) for r in range(2000)]
    assert draws == [standings.is_drawn(SECRET, 0, 0, r, ["node"]) for r in range(2000)]
    assert 60 < sum(draws) < 140  # one in twenty
    assert draws != [standings.is_drawn(b"t" * 32, 0, 0, r, ["node"]) for r in range(2000)]
    assert all(standings.is_drawn(SECRET, 0, 0, r, ["node", "stranger"]) for r in range(50))


@given(st.dictionaries(st.text(), st.integers(0, 10**6)), st.dictionaries(st.text(), st.integers(0, 10**6)))
def test_standings_survive_json(valid, unverified):
    standings = Standings(AuditConfig(), valid, unverified)
    assert Standings.from_plain(AuditConfig(), standings.as_plain()) == standings
    assert Standings.from_plain(AuditConfig(), {}) == Standings(AuditConfig())


@pytest.mark.parametrize("bad", [{"trust_after": 0}, {"at_least": 1.1}, {"at_least": -0.1}, {"window": 0}])
def test_rules_that_make_no_sense_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        AuditConfig(**bad)


@given(st.integers(1, 400), st.integers(0, 10_000), st.integers(1, 60))
def test_an_accounts_lies_never_pay_however_long_it_was_honest(lies, honest_for, trust_after):
    """Its first intervals' pay is a bond: what `lies` in a row gain unseen is less than what being seen costs."""
    standings = Standings(AuditConfig(trust_after=trust_after))
    node = node_of("somebody")
    standings.valid[node] = trust_after + honest_for
    unseen = (1 - standings.share(node)) ** lies
    assert lies * unseen < trust_after * (1 - unseen)


def test_who_leaves_earns_trust_again():
    standings = honest(20)
    assert not standings.is_new("node")
    standings.begin_anew("node")
    assert standings.is_new("node")
    assert standings.share("node") == 1.0
