"""Whose account a run's own work goes to."""

import getpass
import os

import pytest

from hydrahive.ledger.entries import NAME
from hydrahive.runtime.runs.run_user import run_user


@pytest.mark.parametrize(
    ("login", "account"),
    [
        ("alice", "alice"),
        ("alice@corp.example", "alice-corp.example"),
        ("_build", "build"),
        ("svc_", "svc"),
        ("---", None),
    ],
)
def test_every_login_has_an_account(monkeypatch, login, account):
    monkeypatch.setattr(getpass, "getuser", lambda: login)
    assert run_user() == (account or f"uid-{os.getuid()}")
    assert NAME.fullmatch(run_user())


def test_a_user_without_a_name_has_one_too(monkeypatch):
    def nobody():
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert run_user() == f"uid-{os.getuid()}"
