"""Volunteers over HTTP that are not honest: what each of them does to the client's own code.

    python tests/robbers.py URL KEYS.json WAY... [--count N]

runs N of them, the ways in turn, as threads of one process, until it is ended.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from hydrahive.runtime.roles.lending import acting as lending
from hydrahive.volunteer.acting import Acting
from hydrahive.volunteer.line import Line
from hydrahive.volunteer.working import Working


def _with(person, change):
    """Have what it gives changed: `change(lent, acting)`."""

    class Changed(Acting):
        def acted(self, shard, round_, version):
            one = self._shards[shard]
            fragment, summary = one.simulate(round_, version, self._network)
            lent = change(lending.lent_of(fragment, summary, one), self)
            body = lent if isinstance(lent, bytes) else self._layout.packed(lent)
            return body, summary.env_steps

    person.acting_class = Changed


def stale_weights(person):
    """Acts with the first weights that it got, for ever."""

    class Stale(Acting):
        def load(self, name, weights):
            if not self._loaded:
                super().load(name, weights)

    person.acting_class = Stale


def made_up_actions(person):
    _with(person, lambda lent, _: dataclasses.replace(lent, actions=np.zeros_like(lent.actions)))


def made_up_behaviour(person):
    _with(person, lambda lent, _: dataclasses.replace(lent, behaviour=lent.behaviour + np.float32(1e-3)))


def made_up_rewards(person):
    """Sends rewards besides, which nobody has asked for."""
    _with(person, lambda lent, acting: acting._layout.packed(lent) + np.ones(lent.actions.shape, np.float32).tobytes())


def skipped_steps(person):
    _with(person, lambda lent, acting: acting._layout.packed(lent)[: -lent.behaviour.nbytes // 2])


def nan(person):
    _with(person, lambda lent, _: dataclasses.replace(lent, behaviour=lent.behaviour * np.float32("nan")))


def replayed(person):
    """Gives its first fragment again and again."""
    kept = []

    def first(lent, _):
        kept.append(lent)
        return kept[0]

    _with(person, first)


def huge(person):
    _with(person, lambda lent, acting: bytes(64 * 2**20))


def slow_body(person):
    """Sends each body a byte at a time."""

    def put(path, body):
        place = urlsplit(person.line._url)
        line = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
        try:
            line.putrequest("PUT", path)
            for name, text in person.line._headers.items():
                line.putheader(name, text)
            line.putheader("Content-Length", str(len(body)))
            line.endheaders()
            for i in range(len(body)):
                line.send(body[i : i + 1])
                time.sleep(1.0)
        except OSError:
            return

    person.line.put = put


def forged_class(person):
    """Says that it is of the run's class, and computes the known fragment otherwise."""

    class Forged(Acting):
        def known(self, nonce):
            return "0" * 64, *super().known(nonce)[1:]

    person.acting_class = Forged


def forged_versions(person):
    class Forged(Acting):
        def known(self, nonce):
            digest, class_, fingerprint = super().known(nonce)
            return digest, class_, {**fingerprint, "torch": "0.1"}

    person.acting_class = Forged


def anothers_lease(person):
    """Answers leases that it was not given."""
    put = person.line.put
    person.line.put = lambda path, body: put(path.replace(path.split("/")[3], "f" * 32), body)


def silent(person):
    person.line.put = lambda path, body: None


WAYS = [
    stale_weights, made_up_actions, made_up_behaviour, made_up_rewards, skipped_steps, nan, replayed, huge, slow_body,
    forged_class, forged_versions, anothers_lease, silent,
]  # fmt: skip


def main() -> None:
    import threading

    from hydrahive.volunteer.budget import Budget

    url, keys, *names = sys.argv[1:]
    count = int(names.pop()) if "--count" in names else None
    names = [name for name in names if name != "--count"]
    ways = [globals()[name] for name in names] or WAYS
    print("ready", flush=True)
    for number, (account, key) in enumerate(list(json.loads(Path(keys).read_text()).items())[:count]):

        def rob(account, key, way):
            while True:
                line = Line(url, key, lambda text: None)
                person = Working(line, Budget(), lambda text: None, lambda: None)
                person.line = line
                way(person)
                try:
                    person.work()
                except Exception as error:
                    print(f"{account} ({way.__name__}): {error}", flush=True)
                time.sleep(2)

        way = ways[number % len(ways)]
        threading.Thread(target=rob, args=(account, key, way), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
