"""How fast a volunteer is behind a slow link that loses packets, and what a step costs in bytes.

Two network namespaces of this machine, with a delay and a loss between them. Needs root.

    python experiments/benchmarks/link.py [--ms 50] [--loss 0.01] [--seconds 60] [CONFIG [options of hydrahive train]]

The kernel here has no netem, so packets pass through a tun device in each namespace and through this program, which
keeps each for half of the delay, and drops one in so many.
"""

from __future__ import annotations

import argparse
import fcntl
import heapq
import json
import os
import random
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
"""From linux/if_tun.h."""

HERE, THERE = "10.77.0.1", "10.77.0.2"
ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-P", "-m", "hydrahive.cli.main"]


def sh(*words: str) -> None:
    """Run a command that has to work."""
    subprocess.run(words, check=True)


def tun(name: str) -> int:
    """A tun device's file."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return file


class Link:
    """A link between this namespace and another one."""

    def __init__(self, space: str, delay_s: float, loss: float) -> None:
        """Make both ends; each packet is kept for `delay_s`, and lost with probability `loss`."""
        self._delay_s, self._loss, self._draw = delay_s, loss, random.Random(7)
        self.passed = self.lost = self.bytes = 0
        sh("ip", "netns", "add", space)
        self._files = [tun("hh-here"), tun("hh-there")]
        sh("ip", "link", "set", "hh-there", "netns", space)
        for where, name, own, other in (
            ((), "hh-here", HERE, THERE),
            (("ip", "netns", "exec", space), "hh-there", THERE, HERE),
        ):
            sh(*where, "ip", "addr", "add", own, "peer", other, "dev", name)
            sh(*where, "ip", "link", "set", name, "up", "mtu", "1500", "txqueuelen", "2000")
        sh("ip", "netns", "exec", space, "ip", "link", "set", "lo", "up")
        threading.Thread(target=self._carry, daemon=True).start()

    def _carry(self) -> None:
        waiting: list[tuple[float, int, int, bytes]] = []
        here, there = self._files
        count = 0
        while True:
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, _, sink, packet = heapq.heappop(waiting)
                try:
                    os.write(sink, packet)
                except OSError:
                    self.lost += 1
            timeout = max(0.0, waiting[0][0] - now) if waiting else 0.5
            ready, _, _ = select.select(self._files, [], [], timeout)
            for file in ready:
                for _ in range(64):
                    try:
                        packet = os.read(file, 65536)
                    except BlockingIOError:
                        break
                    if self._draw.random() < self._loss:
                        self.lost += 1
                        continue
                    count += 1
                    self.passed += 1
                    self.bytes += len(packet)
                    heapq.heappush(
                        waiting, (time.monotonic() + self._delay_s, count, there if file == here else here, packet)
                    )


def speed(folder: Path, from_s: float) -> float:
    """Env steps a second of a run between its events' last word on volunteers and now."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "seconds" in row and row["seconds"] >= from_s]
    if len(rows) < 2:
        return 0.0
    return (rows[-1]["env_steps"] - rows[0]["env_steps"]) / (rows[-1]["seconds"] - rows[0]["seconds"])


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ms", type=float, default=50.0, help="there and back")
    parser.add_argument("--loss", type=float, default=0.01, help="of packets, each way")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--lag", default="3")
    parser.add_argument("--fragment", default="512", help="steps of a fragment")
    given, more = parser.parse_known_args()
    config, *options = more or ["snake/ppo"]
    home = Path(tempfile.mkdtemp(prefix="hl", dir="/tmp"))
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("RAY_", "HYDRAHIVE_"))}
    environment |= {"HOME": str(home), "RAY_AUTH_MODE": "token", "HYDRAHIVE_CLUSTER": str(home / "c")}
    environment |= {"HYDRAHIVE_RUNS": str(home / "c/runs"), "HYDRAHIVE_LEDGER": str(home / "c/ledger.sqlite")}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    ports = {"PORT": 36379, "DASHBOARD_PORT": 38265, "CLIENT_PORT": 30001, "AGENT_PORT": 35365, "METRICS_PORT": 38080}
    environment |= {f"HYDRAHIVE_{name}": str(port) for name, port in ports.items()}
    space, begun = f"hh{os.getpid()}", []

    def begin(name: str, *words: str, **variables: str) -> subprocess.Popen[bytes]:
        with (home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                words, env={**environment, **variables}, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        begun.append(process)
        return process

    def said(name: str, pattern: str, seconds: float = 120) -> str:
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, (home / f"{name}.log").read_text())):
            if time.monotonic() > end:
                raise SystemExit(
                    f"{name}: nothing of {pattern!r} within {seconds} s\n{(home / f'{name}.log').read_text()}"
                )
            time.sleep(0.2)
        return found[1] if found.groups() else ""

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    link = Link(space, given.ms / 2000, given.loss)
    try:
        up = subprocess.run(
            [ROOT / "cluster/up.sh", "--num-cpus=2"], env=environment, capture_output=True, text=True, check=True
        )
        address = re.search(r"the head is up at (\S+),", up.stdout)[1]
        environment["RAY_ADDRESS"] = address
        key = subprocess.run(
            [*COMMAND, "ledger", "accounts", "open", "far"], env=environment, capture_output=True, text=True, check=True
        )
        key = re.search(r"hh_\S+", key.stdout + key.stderr)[0]
        begin("gateway", *COMMAND, "gateway", "--host", HERE, "--port", "8443", "--plain")
        said("gateway", "volunteers may join")
        train = [*COMMAND, "train", config, "--runs", str(home / "c/runs"), "--workers", "1", "--lag", given.lag]
        train += [
            "--look",
            "none",
            "--recording",
            "false",
            "--metrics_every",
            "5",
            "--boundary_every",
            "5",
            "--fragment_length",
            given.fragment,
            "--stop.env_steps",
            "1_000_000_000",
        ]
        train += options
        begin("local", *train, "--name", "local")
        said("local", r"steps/s|  \d+%|steps  ")
        time.sleep(given.seconds)
        local = speed(home / "c/runs/local", 10)
        os.killpg(begun[-1].pid, signal.SIGTERM)
        begun[-1].wait(60)
        begin("far", "ip", "netns", "exec", space, *COMMAND, "volunteer", f"http://{HERE}:8443", "--plain",
              "--folder", str(home / "v"), HYDRAHIVE_KEY=key)  # fmt: skip
        begin(
            "lent",
            *train,
            "--name",
            "lent",
            "--remote.share",
            "1.0",
            "--audit.trust_after", "3",
            "--remote.rounds_per_lease",
            "8",
        )
        said("lent", "has earned trust", 300)
        events = [json.loads(line) for line in (home / "c/runs/lent/events.jsonl").read_text().splitlines()]
        began = next(event["time"] for event in events if event["kind"] == "started")
        trusted = next(event["time"] for event in events if event["kind"] == "volunteer_trusted")
        passed = link.bytes
        time.sleep(given.seconds)
        lent, passed = speed(home / "c/runs/lent", trusted - began + 10), link.bytes - passed
        print(f"local worker {local:,.0f} steps/s, volunteer {lent:,.0f} steps/s: {lent / max(local, 1):.2f}")
        print(
            f"{given.ms:g} ms, {given.loss:.1%} loss; {passed / max(lent * given.seconds, 1):.1f} bytes an env step on the wire"
        )
        print((home / "far.log").read_text().splitlines()[-1])
        print("\n".join((home / "lent.log").read_text().splitlines()[-3:]))
    finally:
        for process in begun:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        time.sleep(3)
        for process in begun:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        subprocess.run([ROOT / "cluster/down.sh"], env=environment, capture_output=True, check=False)
        sh("ip", "netns", "del", space)


if __name__ == "__main__":
    main()
