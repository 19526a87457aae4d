"""The client's side of the server: asks again when an answer was lost, and pays once."""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.request
from typing import Any

from hydrahive.core.errors import HydrahiveError

ATTEMPTS = 5
"""How often a query is asked, under one name, while the server does not answer."""

TIMEOUT_SECONDS = 60.0


class Client:
    """One account's line to a server."""

    def __init__(self, url: str, key: str, account: str | None = None) -> None:
        """Ask the server at `url` with an account's key, which must be that of `account` if it is named."""
        self._url, self._key, self._account = url.rstrip("/"), key, account

    def act(self, observations: Any, run: str | None = None, state: Any = None, legal: Any = None) -> dict[str, Any]:
        """Actions for observations `[N, *shape]`; `state` is the answer's before; errors as `balance`."""
        return self._paid("/v1/act", {"observations": observations, "run": run, "state": state, "legal": legal})

    def episode(self, episode: int, run: str | None = None) -> dict[str, Any]:
        """Have an episode played; errors as `balance`."""
        return self._paid("/v1/episode", {"episode": episode, "run": run})

    def model(self) -> dict[str, Any]:
        """What is served; errors as `balance`."""
        return self._asked("GET", "/v1/model", None, {})

    def balance(self) -> dict[str, Any]:
        """What the account has.

        Raises:
            HydrahiveError: If the server refuses, or does not answer; with its reason in one line.
        """
        found = self._asked("GET", "/v1/balance", None, {})
        self._see_account(found["account"])
        return found

    def _paid(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._asked("POST", path, body, {"Idempotency-Key": secrets.token_hex(12)})
        if answer["payment"]:
            self._see_account(answer["payment"]["account"])
        return answer

    def _see_account(self, name: str) -> None:
        if self._account not in (None, name):
            raise HydrahiveError(f"the key is account {name!r}'s, not {self._account!r}'s")

    def _asked(self, method: str, path: str, body: Any, headers: dict[str, str]) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json", **headers}
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(min(2**attempt / 4, 4))
            try:
                request = urllib.request.Request(self._url + path, data, headers, method=method)
                with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                    found: dict[str, Any] = json.load(answer)
                return found
            except urllib.error.HTTPError as error:
                reason = _reason(error)
                if error.code < 500 and error.code != 429:
                    raise HydrahiveError(f"{error.code}: {reason}") from None
                reason = f"{error.code}: {reason}"
            except (OSError, ValueError) as error:
                reason = str(getattr(error, "reason", error))
        raise HydrahiveError(f"{self._url} does not answer: {reason}")


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError, OSError):
        return str(error.reason)
