"""Which Ray a command is for, and how to be let in; known without importing Ray."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from hydrahive.core.errors import HydrahiveError, UsageError

TOKEN_PLACE = "put it into ~/.ray/auth_token with mode 0600, or name its file in RAY_AUTH_TOKEN_PATH"  # noqa: S105  where a token lies, not one
"""Where people put a token, in words."""

ADDRESS = re.compile(r"(?:ray://)?\[?([^\]/]+?)\]?:(\d+)")
"""A cluster's address: host and port."""

IMPATIENT = {
    "RAY_NUM_REDIS_GET_RETRIES": "5",
    "RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S": "1",
}
"""Settings under which Ray gives up on a cluster that does not let it in after some seconds."""

ANSWER_SECONDS = 5.0
"""Longest wait for a cluster's port to accept a connection."""


def cluster_address(given: str | None) -> str | None:
    """The address that was given, else `RAY_ADDRESS`.

    Raises:
        UsageError: If it is a dashboard's.
    """
    address = given or os.environ.get("RAY_ADDRESS") or None
    if address and address.startswith(("http://", "https://")):
        key = "--address" if given else "RAY_ADDRESS"
        raise UsageError(
            f"{key}: {address!r} is a dashboard's, which `ray job submit` takes; expected HOST:6379, or ray://HOST:10001"
        )
    return address


def is_embedded(given: str | None) -> bool:
    """Whether no running cluster is meant, but a Ray inside the command's own process."""
    return cluster_address(given) in (None, "local")


def introduce(arguments: Sequence[str]) -> None:
    """Get ready for the cluster that a command's arguments name, if they do; to be called before Ray is imported.

    Ray shows a token to clusters that it finds, but not to one whose address it is given; and if it is shown to a
    cluster that has none, its processes are not let in here. So the cluster is asked, where this user has a token.
    """
    address = _address_in(arguments)
    if not address or address.startswith("http") or is_embedded(address):
        return
    for name, value in IMPATIENT.items():
        os.environ.setdefault(name, value)
    names = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    has_token = any(os.environ.get(name) for name in names) or (Path.home() / ".ray" / "auth_token").is_file()
    if has_token and "RAY_AUTH_MODE" not in os.environ and wants_token(address):
        os.environ["RAY_AUTH_MODE"] = "token"


def _address_in(arguments: Sequence[str]) -> str | None:
    for option, value in pairwise([*arguments, ""]):
        if option == "--address" or option.startswith("--address="):
            return option.partition("=")[2] or value
    return os.environ.get("RAY_ADDRESS")


def wants_token(address: str) -> bool:
    """Whether the cluster at `HOST:PORT` or `ray://HOST:PORT` lets nobody in without its token."""
    parts = ADDRESS.fullmatch(address)
    if parts is None:
        return False
    import grpc

    call = "RayletDriver/ClusterInfo" if address.startswith("ray://") else "NodeInfoGcsService/GetClusterId"
    with grpc.insecure_channel(f"{parts[1]}:{parts[2]}") as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{call}")(b"", timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return False


def await_answer(address: str) -> None:
    """See that somebody listens at `HOST:PORT` or `ray://HOST:PORT`; Ray itself would try for a minute and more.

    Raises:
        HydrahiveError: If nobody does.
    """
    parts = ADDRESS.fullmatch(address)
    if parts is None:
        return  # a name that Ray knows, such as auto
    host, port = parts[1], int(parts[2])
    try:
        socket.create_connection((host, port), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise HydrahiveError(f"cannot connect to the Ray cluster at {address}: {what}") from None


def refusal(text: str) -> str:
    """Why Ray does not let a process in, from its error's text, in one line."""
    versions = re.findall(r"^\s*(?:Ray|Python): (\S+)$", text, re.MULTILINE)
    if "ersion mismatch" in text and len(versions) == 4:
        theirs, mine = (f"Ray {ray} on Python {python}" for ray, python in (versions[:2], versions[2:]))
        return f"it runs {theirs}, this is {mine}; both must be the same"
    if "authenticat" in text.lower():
        return f"it wants its token: {TOKEN_PLACE}"
    if "No node info found" in text:
        return "this machine is no node of it: give its client port (ray://HOST:10001), or submit a job to it"
    if "ailed to connect" in text or "nable to connect" in text or "connection timeout" in text:
        return f"somebody answers there, but lets nobody in without the cluster's token: {TOKEN_PLACE}"
    return next((line.strip() for line in text.splitlines() if line.strip()), "it gives no reason")
