"""Which variables of the environment change bytes, and whether the machine class then says so.

    python tests/golden/variables.py --report docs/benchmarks/variables.md

Each variable is set alone, before anything is imported, and small runs are trained inline (ten minutes).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

RUNS = {
    "cartpole/vtrace": ["--stop.env_steps", "20000"],
    "snake/vtrace": ["--stop.env_steps", "40000"],
    "swarm/vtrace-lstm": ["--stop.env_steps", "3000", "--envs_per_shard", "20"],
}

UNSET = ""

VARIABLES = [
    *(("OMP_NUM_THREADS", value) for value in ("1", "2", UNSET)),
    ("OMP_DYNAMIC", "true"),
    ("OMP_THREAD_LIMIT", "1"),
    ("OMP_SCHEDULE", "dynamic"),
    ("OMP_PROC_BIND", "true"),
    ("OMP_WAIT_POLICY", "active"),
    ("KMP_AFFINITY", "compact"),
    ("KMP_BLOCKTIME", "0"),
    ("GOMP_CPU_AFFINITY", "0"),
    *(("MKL_CBWR", value) for value in ("AUTO", "AVX2", "AVX512", "COMPATIBLE")),
    ("MKL_NUM_THREADS", "2"),
    ("MKL_DYNAMIC", "FALSE"),
    ("MKL_NUM_STRIPES", "4"),
    *(("MKL_ENABLE_INSTRUCTIONS", value) for value in ("AVX2", "SSE4_2")),
    ("MKL_DEBUG_CPU_TYPE", "5"),
    ("MKL_DISABLE_FAST_MM", "1"),
    ("MKL_FAST_MEMORY_LIMIT", "0"),
    *(("ONEDNN_MAX_CPU_ISA", value) for value in ("AVX2", "AVX512_CORE", "AVX512_CORE_BF16")),
    ("DNNL_MAX_CPU_ISA", "SSE41"),
    ("ONEDNN_CPU_ISA_HINTS", "PREFER_YMM"),
    *(("ONEDNN_DEFAULT_FPMATH_MODE", value) for value in ("BF16", "ANY")),
    ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0"),
    *(("ATEN_CPU_CAPABILITY", value) for value in ("avx2", "default")),
    ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1"),
    *(("OPENBLAS_CORETYPE", value) for value in (UNSET, "Haswell", "SkylakeX", "Zen")),
    ("OPENBLAS_NUM_THREADS", "2"),
    ("OPENBLAS_L2_SIZE", UNSET),
    ("NPY_DISABLE_CPU_FEATURES", "X86_V4 AVX512_ICL AVX512_SPR"),
    ("NPY_DISABLE_CPU_FEATURES", "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"),
    ("NUMBA_CPU_NAME", "generic"),
    ("NUMBA_ENABLE_AVX", "0"),
    ("NUMBA_OPT", "0"),
    ("NUMBA_LOOP_VECTORIZE", "0"),
    ("NUMBA_SLP_VECTORIZE", "1"),
    ("NUMBA_DISABLE_INTEL_SVML", "1"),
    ("NUMBA_NUM_THREADS", "1"),
    ("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F"),
    ("MALLOC_ARENA_MAX", "1"),
    ("PYTHONHASHSEED", "7"),
    ("TZ", "Asia/Tokyo"),
    ("LC_ALL", "tr_TR.UTF-8"),
]
"""What torch, oneDNN, MKL, OpenBLAS, numpy, numba, OpenMP, glibc and Python read, and a value of each."""

Came = dict[str, str]
"""A run's `digest` and `machine_class`, or why it was `refused`."""


def came_of(run: str, variable: str | None = None, value: str = UNSET) -> Came:
    """What a run comes to in a process with this variable."""
    env = dict(os.environ)
    if variable is not None:
        env.pop(variable, None)
        env |= {variable: value} if value else {}
    code = f"import variables; variables.train({run!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, env=env, capture_output=True, text=True)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode:
        return {"refused": lines[-1] if lines else f"exit code {done.returncode}"}
    came: Came = json.loads(lines[-1])
    return came


def train(run: str) -> None:
    """Train a run in this process and print what it comes to."""
    from golden.recording import came_to
    from golden.runs import config_of

    came = came_to(config_of(run, RUNS[run]))
    print(json.dumps({name: came[name] for name in ("digest", "machine_class")}))


def verdict(plain: Came, came: Came) -> str:
    """What a variable does: the same bytes, another class, no run, or a fault of ours."""
    if "refused" in came:
        return "no run"
    if came["machine_class"] != plain["machine_class"]:
        return "another class" + ("" if came["digest"] == plain["digest"] else ", other bytes")
    return "same bytes" if came["digest"] == plain["digest"] else "OTHER BYTES UNDER ONE CLASS"


def table() -> Iterator[tuple[str, list[str]]]:
    """Each variable, and what it does to each run."""
    plain = {run: came_of(run) for run in RUNS}
    for variable, value in VARIABLES:
        name = f"{variable}={value}" if value else f"{variable} unset"
        yield name, [verdict(plain[run], came_of(run, variable, value)) for run in RUNS]


def report(rows: list[tuple[str, list[str]]]) -> str:
    """The table for people; what changes nothing stands together."""
    from hydrahive.core.machine import cpu_fact

    same = [name for name, verdicts in rows if set(verdicts) == {"same bytes"}]
    lines = [
        "# Variables that may change bytes",
        "",
        f"Written by `python tests/golden/variables.py`, {time.strftime('%Y-%m-%d')}, on an {cpu_fact('model name')}. Each",
        "variable was set alone, and three small runs trained inline. *Another class*: the machine class says so, a run is",
        "not continued across the change. *No run*: torch itself cannot compute it.",
        "",
        f"| variable | {' | '.join(f'`{run}`' for run in RUNS)} |",
        "|---|" + "---|" * len(RUNS),
        *(f"| `{name}` | {' | '.join(verdicts)} |" for name, verdicts in rows if name not in same),
        "",
        "Same bytes, same class: " + ", ".join(f"`{name}`" for name in same) + ".",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Try them all."""
    rows: list[Any] = []
    for name, verdicts in table():
        print(f"{name}: {', '.join(verdicts)}", flush=True)
        rows.append((name, verdicts))
    if "--report" in sys.argv:
        Path(sys.argv[sys.argv.index("--report") + 1]).write_text(report(rows))
    if any("OTHER" in verdict for _, verdicts in rows for verdict in verdicts):
        sys.exit("a variable changes bytes under one machine class")


if __name__ == "__main__":
    main()
