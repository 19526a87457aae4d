"""The client's side of the server: asks again when an answer was lost, and pays once."""

from __future__ import annotations

import http.client
import json
import secrets
import time
import urllib.error
import urllib.request
from typing import Any

from hydrahive.core.errors import HydrahiveError, UsageError

ATTEMPTS = 5
"""How often a query is asked, under one name, while the server does not answer."""

TIMEOUT_SECONDS = 60.0

EPISODE_SECONDS = 600.0
"""An episode waits for those that were asked for before it."""

PRICES = {"/v1/act": "microtokens_per_query", "/v1/episode": "microtokens_per_episode"}
"""Where the server's description of itself says what a query costs."""

NO_KEY = "ACCOUNT: its key is needed, in $HYDRAHIVE_KEY or --key-file"


class Client:
    """One account's line to a server."""

    def __init__(self, url: str, key: str | None, account: str | None = None) -> None:
        """Ask the server at `url` with an account's key, which must be that of `account` if it is named.

        Without a key, what costs nothing can be asked.

        Raises:
            UsageError: If it is no server's address.
        """
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"--url: {url!r} is no server's address: it begins with neither http:// nor https://")
        self._url, self._key, self._account = url.rstrip("/"), key, account
        self._is_known = account is None
        self._prices: dict[str, Any] = {}

    def act(self, observations: Any, run: str | None = None, state: Any = None, legal: Any = None) -> dict[str, Any]:
        """Actions for observations `[N, *shape]`; `state` is the answer's before; errors as `balance`."""
        body = {"observations": observations, "run": run, "state": state, "legal": legal}
        return self._paid("/v1/act", body, TIMEOUT_SECONDS)

    def episode(self, episode: int, run: str | None = None) -> dict[str, Any]:
        """Have an episode played; errors as `balance`."""
        return self._paid("/v1/episode", {"episode": episode, "run": run}, EPISODE_SECONDS)

    def model(self) -> dict[str, Any]:
        """What is served; errors as `balance`."""
        return self._asked("GET", "/v1/model", None, {})

    def balance(self) -> dict[str, Any]:
        """What the account has.

        Raises:
            UsageError: Without a key.
            HydrahiveError: If the server refuses, or does not answer; with its reason in one line.
        """
        if self._key is None:
            raise UsageError(NO_KEY)
        found = self._asked("GET", "/v1/balance", None, {})
        if self._account not in (None, found["account"]):
            raise HydrahiveError(f"the key is account {found['account']!r}'s, not {self._account!r}'s")
        self._is_known = True
        return found

    def _paid(self, path: str, body: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        if self._key is None or not self._is_known:
            self._prices = self._prices or self.model()
            if self._prices[PRICES[path]]:
                self.balance()  # before another account pays
        return self._asked("POST", path, body, {"Idempotency-Key": secrets.token_hex(12)}, timeout_s)

    def _asked(
        self, method: str, path: str, body: Any, headers: dict[str, str], timeout_s: float = TIMEOUT_SECONDS
    ) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **headers}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(min(2**attempt / 4, 4))
            try:
                request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310  http or https: looked at when the client is made
                with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310  http or https: looked at when the client is made
                    found: dict[str, Any] = json.load(answer)
                return found
            except urllib.error.HTTPError as error:
                reason = _reason(error)
                if error.code < 500 and error.code != 429:
                    raise HydrahiveError(f"{error.code}: {reason}") from None
                reason = f"{error.code}: {reason}"
            except (http.client.InvalidURL, UnicodeEncodeError) as error:
                raise UsageError(f"--url: {self._url!r} is no server's address: {error}") from None
            except (OSError, ValueError, http.client.HTTPException, RecursionError) as error:
                reason = str(getattr(error, "reason", error))
        raise HydrahiveError(f"{self._url} does not answer: {reason}")


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError, OSError):
        return str(error.reason)
