"""The machine as it is: what its processor has, what this process may use of it, and where it may write."""

from __future__ import annotations

import locale
import math
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NoReturn

CGROUPS = Path("/sys/fs/cgroup")

LONGEST_TEMPORARY = 40
"""Characters of a temporary folder's path below which Ray's sockets have names that Linux takes (107)."""


def cpus() -> int:
    """CPUs that this process may use: by affinity, and by the quota of its cgroups (rounded up)."""
    counts = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    for quota in _limits("cpu.max"):
        most, _, period = quota.partition(" ")
        if most.isdigit() and period.isdigit() and int(period):
            counts.append(math.ceil(int(most) / int(period)))
    quota_us, period_us = (_number(CGROUPS / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if quota_us and period_us:
        counts.append(math.ceil(quota_us / period_us))
    return max(1, min(counts))


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or less by the limits of its cgroups and its own."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    limits += [int(text) for text in _limits("memory.max") if text.isdigit()]
    limits += [old] if (old := _number(CGROUPS / "memory" / "memory.limit_in_bytes")) else []
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    return min([*limits, most] if most != resource.RLIM_INFINITY else limits)


def _limits(name: str) -> Iterator[str]:
    """What the cgroup of this process, and each above it, says."""
    try:
        own = next(
            line[3:] for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines() if line.startswith("0::")
        )
    except (OSError, StopIteration):
        own = "/"
    place = CGROUPS / own.strip("/")
    for folder in (place, *place.parents):
        if not folder.is_relative_to(CGROUPS):
            return
        try:
            yield (folder / name).read_text("utf-8").strip()
        except OSError:
            continue


def _number(path: Path) -> int | None:
    try:
        value = int(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return value if value > 0 else None


def own_temporary(name: str) -> Path:
    """A folder of this user's own for temporary files, made if it is not there: `hydrahive-UID/NAME`.

    Raises:
        OSError: If there is none, or somebody else has made it.
    """
    short = tempfile.gettempdir()
    if len(short) > LONGEST_TEMPORARY and os.access("/tmp", os.W_OK):  # noqa: S108  a folder of our own in it
        short = "/tmp"  # noqa: S108  likewise
    folder = Path(short) / f"hydrahive-{os.getuid()}" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for one in (folder.parent, folder):
        if one.is_symlink() or one.stat().st_uid != os.getuid():
            raise PermissionError(13, "it belongs to somebody else", str(one))
    return folder


def begin_again(*command: str) -> None:
    """Begin this Python again where it reads files by a locale, or orders sets by chance.

    Files of ours and of our libraries are in UTF-8, whatever the locale says. What an environment takes out of a set of
    words first depends on the seed of Python's hashes, which every process has another of unless it is given.

    Args:
        *command: What follows `python`.
    """
    reads_utf8 = sys.flags.utf8_mode or locale.getpreferredencoding(False).lower().replace("-", "") == "utf8"
    wanted = {} if reads_utf8 else {"PYTHONUTF8": "1"}
    wanted |= {} if "PYTHONHASHSEED" in os.environ else {"PYTHONHASHSEED": "0"}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        become(*command, **wanted)


def become(*command: str, **variables: str) -> NoReturn:
    """Go on as another Python, with more variables in its environment.

    Args:
        *command: What follows `python`, as `-m hydrahive.cli.main train snake/vtrace`.
        **variables: The variables.
    """
    os.environ.update(variables)
    sys.stdout.flush()
    sys.stderr.flush()
    # A program that a more powerful user has started may lie where this one cannot look for it.
    program = sys.executable if os.access(sys.executable, os.X_OK) else "/proc/self/exe"
    os.execv(program, [sys.executable, *command])  # noqa: S606  a command of ours


def settle(*, finds_places: bool = True) -> None:
    """Make the best of what is missing, for this process and those that it starts; to be called first of all.

    Unless it `finds_places`, nothing is made for a home or a cache that cannot be written: the command has a folder.
    Variables that are set but empty are as if they were not. Compiled code is cached where one may write. Nobody is
    asked through a proxy for what is on this machine. Terminals are written to in colour by nobody but `watch`.
    """
    for name, value in list(os.environ.items()):
        if not value and (name.startswith(("HYDRAHIVE_", "RAY_")) or name in ("TMPDIR", "NUMBA_CACHE_DIR")):
            del os.environ[name]
    # With colorama installed, Numba has an escape written to the terminal at the end, whichever terminal it is.
    os.environ.setdefault("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", "1")
    home = Path.home()
    if finds_places and not _is_writable(home) and not (home / ".ray").is_dir():  # Ray keeps something there, too
        os.environ["HOME"] = str(own_temporary("home"))
    package = Path(__file__).parents[1]
    caches = (package, Path.home() / ".cache", Path.home())
    if finds_places and "NUMBA_CACHE_DIR" not in os.environ and not any(map(_is_writable, caches)):
        os.environ["NUMBA_CACHE_DIR"] = str(own_temporary("numba"))
    if any(os.environ.get(name) for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy")):
        for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
            known = [one for one in os.environ.get(name, "").split(",") if one]
            os.environ[name] = ",".join(dict.fromkeys([*known, "localhost", "127.0.0.1", "::1"]))


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK)


ONEDNN_CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables by which oneDNN uses less than the processor has."""

WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Their values that leave no unit for bfloat16."""


@cache
def cpu_fact(name: str) -> str:
    """What Linux says of the first processor; its maker counts, because libraries take other paths on others' CPUs."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "unknown")


def gains_by_bfloat16(device: str) -> bool:
    """Whether a device, `cpu` or `cuda`, multiplies bfloat16 faster than float32."""
    return device != "cpu" or bool(bfloat16_units())


def bfloat16_units() -> list[str]:
    """The units with which this processor multiplies bfloat16 faster than float32; empty without one."""
    if any(os.environ.get(name, "").upper() in WITHOUT_BFLOAT16 for name in ONEDNN_CAPS):
        return []
    return [unit for unit in ("avx512_bf16", "amx_bf16") if unit in cpu_fact("flags").split()]
