"""Whom a command connects to, and what it says when it is not let in."""

from __future__ import annotations

import os
import socket

import pytest
from ray._private.utils import check_version_info, compute_version_info

from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.cluster import address as ray_address
from hydrahive.runtime.cluster.address import (
    IMPATIENT,
    await_answer,
    cluster_address,
    introduce,
    is_embedded,
    refusal,
    wants_token,
)


@pytest.mark.parametrize(
    ("ray", "python"),
    [("2.59.1", compute_version_info()[1]), (compute_version_info()[0], "3.10.4"), ("3.0.0", "3.14.0")],
)
def test_a_cluster_of_other_versions_is_named_in_one_line(ray: str, python: str) -> None:
    """What Ray itself raises is what is read."""
    with pytest.raises(RuntimeError) as raised:
        check_version_info({"ray_version": ray, "python_version": python}, "here")
    mine = compute_version_info()
    wanted = f"it runs Ray {ray} on Python {python}, this is Ray {mine[0]} on Python {mine[1]}; both must be the same"
    assert refusal(str(raised.value)) == wanted


def test_equal_versions_are_no_matter() -> None:
    ray, python = compute_version_info()
    check_version_info({"ray_version": ray, "python_version": python}, "here")


def test_who_is_not_let_in_is_told_what_to_do() -> None:
    assert "auth_token" in refusal("Unauthenticated: RPC error: InvalidAuthToken: Authentication token is missing")
    assert "auth_token" in refusal("Failed to connect to Ray cluster at 192.0.2.1:6379")
    assert "ray://HOST:10001" in refusal("No node info found matching attributes: '' when trying to resolve")
    assert refusal("\n  a reason\nand more") == "a reason"
    assert refusal("") == "it gives no reason"


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_listens_is_told_at_once(scheme: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(HydrahiveError, match=r"cannot connect to the Ray cluster at .*: Connection refused"):
            await_answer(f"{scheme}127.0.0.1:{nobody.getsockname()[1]}")
        nobody.listen()
        await_answer(f"{scheme}127.0.0.1:{nobody.getsockname()[1]}")


@pytest.mark.parametrize("address", ["nohost.invalid:6379", "ray://nohost.invalid:10001", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_one_line(address: str) -> None:
    with pytest.raises(HydrahiveError) as raised:
        await_answer(address)
    assert address in str(raised.value)
    assert "\n" not in str(raised.value)


def test_names_that_ray_knows_are_left_to_it() -> None:
    await_answer("auto")


def test_the_environment_names_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert is_embedded(None)
    assert is_embedded("local")
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    assert cluster_address(None) == "192.0.2.1:6379"
    assert cluster_address("192.0.2.2:6379") == "192.0.2.2:6379"
    assert not is_embedded(None)


def test_a_token_is_shown_to_a_cluster_that_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Whether one does is seen on a real one, in tests/cluster."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", *IMPATIENT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ray_address, "wants_token", lambda address: address == "192.0.2.1:6379")
    introduce(["train", "snake/vtrace", "--address=192.0.2.1:6379"])
    assert "RAY_AUTH_MODE" not in os.environ, "there is no token to show"
    assert {name: os.environ.pop(name) for name in IMPATIENT} == IMPATIENT
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    for others in (
        ["train", "snake/vtrace"],
        ["train", "--address", "local"],
        ["train", "--address", "192.0.2.2:6379"],
    ):
        introduce(others)
        assert "RAY_AUTH_MODE" not in os.environ
    for asked in (["--address=192.0.2.1:6379"], ["--address", "192.0.2.1:6379", "--name", "a"]):
        introduce(["train", "snake/vtrace", *asked])
        assert os.environ.pop("RAY_AUTH_MODE") == "token"
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    introduce(["train"])
    assert os.environ.pop("RAY_AUTH_MODE") == "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    introduce(["train"])
    assert os.environ["RAY_AUTH_MODE"] == "disabled", "who says something else is not overruled"


def test_who_is_no_cluster_wants_no_token() -> None:
    assert not wants_token("auto")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert not wants_token(f"127.0.0.1:{nobody.getsockname()[1]}")
