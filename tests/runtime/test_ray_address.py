"""Whom a command connects to, and what it says when it is not let in."""

from __future__ import annotations

import os
import socket

import pytest
from ray._private.utils import check_version_info, compute_version_info

from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.ray_address import IMPATIENT, await_answer, cluster_address, introduce, is_embedded, refusal


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


def test_a_token_is_shown_where_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", *IMPATIENT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    environment = os.environ
    introduce(["train", "snake/vtrace"])
    assert "RAY_AUTH_MODE" not in environment
    assert not set(IMPATIENT) & set(environment)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    introduce(["train", "snake/vtrace", "--address=192.0.2.1:6379"])
    assert environment.pop("RAY_AUTH_MODE") == "token"
    assert {name: environment.pop(name) for name in IMPATIENT} == IMPATIENT
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    introduce([])
    assert environment["RAY_AUTH_MODE"] == "disabled", "who says something else is not overruled"
