"""A volunteer's line to a gateway: asks again while nobody answers, and checks what it is given by its name."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from blake3 import blake3

from hydrahive import __version__
from hydrahive.core.errors import HydrahiveError, UsageError, first_line

LOOPBACK = ("localhost", "127.0.0.1", "::1")

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 60.0
"""Longest wait for a connection, and for an answer's next bytes."""

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between attempts, the last again and again."""

LEAST_PART, PARTS = 16 * 1024, 16
"""A large answer is fetched in so many parts at most, of at least so many bytes, over as many connections."""

MOST_BYTES, MOST_JSON = 2**30, 2**20
"""Of a state, and of an answer that is JSON."""


class TurnedAwayError(HydrahiveError):
    """The gateway refuses, with an HTTP status; asking again would not help."""

    def __init__(self, status: int, text: str) -> None:
        """Why, in its words."""
        super().__init__(text)
        self.status = status


@dataclass
class Traffic:
    """Bytes of bodies so far, in and out."""

    received: int = 0
    sent: int = 0


class Line:
    """One account's line; its calls may come from several threads."""

    def __init__(
        self, url: str, key: str, say: Callable[[str], None], ca: Path | None = None, *, is_plain_fine: bool = False
    ) -> None:
        """Ask the gateway at `url`.

        Args:
            url: Begins with https://, or with http:// for this machine.
            key: The account's API key.
            say: Takes lines for people.
            ca: Certificates that are trusted, as PEM, instead of the system's.
            is_plain_fine: Whether the key may travel unencrypted.

        Raises:
            UsageError: If it is no gateway's address, or the key would travel in the open.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"URL: {url!r} is no gateway's address: expected https://HOST[:PORT]")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK and not is_plain_fine:
            how = "use https://, or --plain in a network of yours"
            raise UsageError(f"URL: {url!r} would send the key unencrypted; {how}")
        if not key.isascii() or not key.isprintable():
            raise UsageError("the account's key is no key: it has other than printable ASCII characters")
        if ca is not None and not ca.is_file():
            raise UsageError(f"--ca: {ca} is not there")
        self._url, self._say = url.rstrip("/"), say
        self._headers = {"Authorization": f"Bearer {key}", "User-Agent": f"hydrahive-volunteer/{__version__}"}
        self._pool = urllib3.PoolManager(
            maxsize=4 * PARTS,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS),
            ca_certs=str(ca) if ca else None,
        )
        self._fetching = ThreadPoolExecutor(2 * PARTS, "fetch")
        self.traffic, self._lock = Traffic(), threading.Lock()
        self.is_over = threading.Event()

    def asked(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, attempts: int = 0) -> Any:
        """A call's answer; asked again while nobody answers, `attempts` times at most, or until the line is closed.

        Raises:
            TurnedAwayError: If the gateway refuses.
            HydrahiveError: If nobody answers.
        """
        data = None if body is None else json.dumps(body).encode()
        content = self._tried(method, path, data, {"Content-Type": "application/json"}, attempts)
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise HydrahiveError(f"{self._url} is no gateway: its answer is no JSON") from None

    def put(self, path: str, body: bytes) -> None:
        """Bring an answer; errors as `asked`, after a few attempts: it may be late by then."""
        self._tried("PUT", path, body, {"Content-Type": "application/octet-stream"}, 3)

    def fetched(self, kind: str, name: str, size: int = 0) -> Future[bytes]:
        """What lies at the gateway under a digest, fetched in parts where it is large; its result raises as `asked`.

        Args:
            kind: `weights` or `states`.
            name: Its BLAKE3.
            size: How many bytes it has, where that is known.
        """
        count = max(1, min(PARTS, size // LEAST_PART))
        edges = [size * i // count for i in range(count + 1)]
        parts = [
            self._fetching.submit(self._part, f"/v1/{kind}/{name}", (low, high - 1) if count > 1 else None)
            for low, high in itertools.pairwise(edges)
        ]
        whole: Future[bytes] = Future()

        def joined(_: object) -> None:
            if all(part.done() for part in parts) and not whole.done():
                with self._lock:
                    if whole.done():
                        return
                    try:
                        content = b"".join(part.result() for part in parts)
                        if blake3(content).hexdigest() != name:
                            raise HydrahiveError(f"{self._url} gave other {kind} than it had named")
                        whole.set_result(content)
                    except Exception as error:
                        whole.set_exception(error)

        for part in parts:
            part.add_done_callback(joined)
        return whole

    def close(self) -> None:
        """Ask nothing any more; who waits meets an error."""
        self.is_over.set()
        self._fetching.shutdown(wait=False, cancel_futures=True)

    def _part(self, path: str, span: tuple[int, int] | None) -> bytes:
        headers = {"Range": f"bytes={span[0]}-{span[1]}"} if span else {}
        return self._tried("GET", path, None, headers, 0)

    def _tried(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str], attempts: int) -> bytes:
        is_said = False
        for attempt, pause in enumerate(_pauses(), 1):
            try:
                return self._once(method, path, data, headers)
            except _AgainError as again:
                why = str(again)
            if self.is_over.is_set() or attempt == attempts:
                break
            if attempt > 3 and not is_said:
                is_said = True
                self._say(f"{self._url} does not answer ({why}); trying again")
            self.is_over.wait(pause)
        raise HydrahiveError(f"{self._url} does not answer: {why}")

    def _once(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> bytes:
        try:
            answer = self._pool.request(
                method,
                self._url + path,
                body=data,
                headers={**self._headers, **headers},
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            most = MOST_BYTES if method == "GET" and not path.endswith("earnings") else MOST_JSON
            content: bytes = answer.read(most + 1)
            answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _AgainError(first_line(error)) from None
        if len(content) > most:
            raise HydrahiveError(f"{self._url} gives more than {most:,} bytes")
        with self._lock:
            self.traffic.received += len(content)
            self.traffic.sent += len(data or b"")
        if answer.status in (200, 206):
            return content
        text = _reason(content, answer.status)
        if answer.status == 429 or answer.status >= 500:
            raise _AgainError(text)
        raise TurnedAwayError(answer.status, text)


class _AgainError(Exception):
    """It may work when it is tried again."""


def _pauses() -> Iterator[float]:
    yield from PAUSES
    while True:
        yield PAUSES[-1]


def _reason(content: bytes, status: int) -> str:
    try:
        said = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"status {status}"
    text = "".join(letter for letter in str(said)[:500] if letter.isprintable())
    return text or f"status {status}"
