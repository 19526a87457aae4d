"""Storing in the background: training goes on while a storage is slow or away, and payment waits for what is stored."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from hydrahive.core.errors import HydrahiveError, first_line

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds until a storage that did not take something is asked again; the last again and again."""

LOOK_SECONDS = 0.2
"""Time between two looks of who waits."""

TELL_SECONDS = 10.0
"""Time after which is told what is waited for."""

Tell = Callable[[str, str], object]
"""Is told an event: its kind, and its sentence."""


class Sender:
    """Calls `store` in a thread of its own, whenever it is asked to, until it has done it since."""

    def __init__(self, store: Callable[[], None]) -> None:
        """Begin nothing yet; `store` raises `OSError` where asking again may help."""
        self._store = store
        self._changed = threading.Condition()
        self._asked = self._done = 0
        self._failure: HydrahiveError | None = None
        self._trouble: OSError | None = None
        self._news: deque[tuple[str, str]] = deque()
        self._is_at_work = self._is_awaited = self._is_over = False

    def ask(self) -> int:
        """Have all that is here now stored; the ticket under which that is done.

        Raises:
            HydrahiveError: What has ended storing for good.
        """
        with self._changed:
            self._raise_failure()
            self._asked += 1
            self._is_over = False
            if not self._is_at_work:
                self._is_at_work = True
                threading.Thread(target=self._work, name="storing", daemon=True).start()
            self._changed.notify_all()
            return self._asked

    @property
    def done(self) -> int:
        """The newest ticket of which everything is stored."""
        return self._done

    def look(self, tell: Tell) -> None:
        """Tell what has happened since the last look; errors as `ask`."""
        while self._news:
            tell(*self._news.popleft())
        self._raise_failure()

    def finish(self, most_s: float, tell: Tell) -> None:
        """Wait until everything that was asked for is stored; then there is no thread any more.

        Raises:
            OSError: If the storage has not taken it after `most_s`.
            HydrahiveError: As `ask`.
        """
        began, said = time.monotonic(), TELL_SECONDS
        try:
            with self._changed:
                self._is_awaited = True
                while self._done < self._asked:
                    self._raise_failure()
                    waited = time.monotonic() - began
                    if waited > most_s:
                        raise self._trouble or TimeoutError(None, f"the storage has not answered for {waited:.0f} s")
                    if waited > said:
                        said *= 6
                        tell("waiting", f"waiting for the storage since {waited:.0f} s{self._why()}")
                    self._changed.wait(LOOK_SECONDS)
            self.look(tell)
        finally:
            with self._changed:
                self._is_over, self._is_awaited = True, False
                self._changed.notify_all()

    def _why(self) -> str:
        return f": {_words(self._trouble)}" if self._trouble else ""

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        attempt = 0
        while True:
            with self._changed:
                while self._done == self._asked and not self._is_over:
                    self._changed.wait()
                if self._is_over and (self._done == self._asked or self._trouble):
                    self._is_at_work = False
                    return
                ticket = self._asked
            try:
                self._store()
            except OSError as error:
                self._note_trouble(error, PAUSES[min(attempt, len(PAUSES) - 1)])
                attempt += 1
            except HydrahiveError as error:
                with self._changed:
                    self._failure, self._is_at_work = error, False
                    self._changed.notify_all()
                return
            else:
                attempt = 0
                self._note_done(ticket)

    def _note_trouble(self, error: OSError, pause: float) -> None:
        with self._changed:
            if self._trouble is None:
                text = f"the storage did not take a checkpoint ({_words(error)}); it is asked again, training goes on"
                self._news.append(("storage_away", text))
            self._trouble = error
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_over, min(pause, PAUSES[0]) if self._is_awaited else pause)

    def _note_done(self, ticket: int) -> None:
        with self._changed:
            if self._trouble is not None:
                self._news.append(("storage_back", "the storage takes checkpoints again"))
            self._done, self._trouble = ticket, None
            self._changed.notify_all()


def _words(error: OSError | None) -> str:
    return (error.strerror or first_line(error)) if error else ""
