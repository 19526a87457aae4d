"""What the coordinator does beside answering."""

import time

import pytest

from hydrahive.core.errors import LedgerError
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.verification import verify
from hydrahive.runtime.coordinator.keeping import Keeping, back_up
from hydrahive.runtime.coordinator.registry import Registry


def test_copies_are_whole_and_the_oldest_go(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.accounts.open("alice")
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "ledger-x.partial").write_text("half of one")
    for i in range(4):
        monkeypatch.setattr(time, "strftime", lambda *_, i=i: f"ledger-{i}.sqlite")
        copy = back_up(tmp_path / "ledger.sqlite", tmp_path / "copies", kept=2)
    assert sorted(path.name for path in (tmp_path / "copies").iterdir()) == ["ledger-2.sqlite", "ledger-3.sqlite"]
    assert verify(Ledger(copy).journal).problem is None
    assert oct(copy.stat().st_mode & 0o777) == "0o600"
    with pytest.raises(LedgerError, match="there is no ledger"):
        back_up(tmp_path / "nowhere.sqlite", tmp_path / "copies")


def test_it_shows_life():
    shown = []
    Keeping(shown.append, lambda: None, None).start()
    deadline = time.monotonic() + 10
    while not shown and time.monotonic() < deadline:
        time.sleep(0.01)
    assert abs(shown[0] - time.time()) < 10


def test_who_was_caught_takes_all_nodes_of_his_account_along(tmp_path):
    registry = Registry(tmp_path / "coordinator.sqlite")
    with registry._transaction() as db:
        db.executemany("INSERT INTO nodes (node_id, owner) VALUES (?, ?)", [("a", "eve"), ("b", "eve"), ("c", "bob")])
    registry.quarantine("a", "it made up rewards")
    registry.quarantine("d", "its own user's")
    quarantined = {row["node_id"] for row in registry.nodes() if row["quarantined"]}
    assert quarantined == {"a", "b", "d"}
