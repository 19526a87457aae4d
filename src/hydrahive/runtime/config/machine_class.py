"""What byte equality is relative to: two machines of one class compute the same bytes."""

from __future__ import annotations

import ctypes
import os
import platform
import warnings

import torch

from hydrahive.core.errors import UsageError
from hydrahive.core.machine import bfloat16_units, cpu_fact
from hydrahive.runtime.config.arithmetic import arithmetic_digest, one_blas_thread
from hydrahive.runtime.config.portable import PORTABLE_ENVIRONMENT
from hydrahive.runtime.config.run_config import RunConfig

DECISIVE = (
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_CPU_ISA_HINTS",
    "DNNL_CPU_ISA_HINTS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "NPY_DISABLE_CPU_FEATURES",
)
"""Variables by which libraries choose other instructions than they would; a class names those that are set."""

DECISIVE_WITH_THREADS = ("OMP_THREAD_LIMIT", "OMP_DYNAMIC", "MKL_DYNAMIC", "MKL_DOMAIN_NUM_THREADS")
"""Likewise variables by which a learner of several threads may get fewer than it asks for."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's `mallopt` parameters, from malloc.h."""


def machine_class(config: RunConfig, device: str = "cpu") -> str:
    """Instruction set, torch build, threads per role, device, precision and arithmetic of this process's part in a run.

    The instruction set names what in the environment chooses others (`DECISIVE`). The arithmetic is what a few of the
    run's operators make of fixed numbers: whatever else changes their bytes, here or in a library, is another class.
    """
    if config.portable:
        processor = "portable-avx2"
    else:
        processor = "-".join([cpu_fact("vendor_id"), torch.backends.cpu.get_cpu_capability(), *bfloat16_units()])
        processor = processor.removeprefix("Genuine").removeprefix("Authentic").lower()
    if device == "cuda":
        device = torch.cuda.get_device_name().replace(" ", "-").lower()
    learner = config.learner
    return "/".join(
        [
            "+".join([f"{platform.machine()}-{processor}", *_chosen(config)]),
            f"torch-{torch.__version__}",
            f"threads-1-{learner.threads}",
            device,
            config.precision,
            f"arithmetic-{arithmetic_digest(config.precision, numpy_products=config.env.numpy_products)}",
        ]
    )


def bytes_of(machine_class_: str) -> tuple[str, ...]:
    """The parts of a machine class that all members of a run share, whatever device they compute on."""
    parts = machine_class_.split("/")
    return (*parts[:2], *parts[5:])


def is_same_class(before: str, now: str) -> bool:
    """Whether a run of one class goes on in the other; older runs do not say which arithmetic they did."""
    return before == now or before == now.rpartition("/")[0]


def _chosen(config: RunConfig) -> list[str]:
    """What in the environment chooses other instructions, threads or operators than the machine would."""
    names = [*DECISIVE, *(DECISIVE_WITH_THREADS if config.learner.threads > 1 else ())]
    pinned = PORTABLE_ENVIRONMENT if config.portable else {}
    here = {name: os.environ.get(name, "") for name in names}
    return [f"{name}={value.replace('/', '|')}" for name, value in here.items() if value != pinned.get(name, "")]


def chosen_device(wanted: str, *, offered: bool) -> str:
    """The kind of device that `learner.device` means, `cpu` or `cuda`, where a GPU is offered or not."""
    return ("cuda" if offered else "cpu") if wanted == "auto" else wanted


def learner_device(wanted: str) -> torch.device:
    """The device to learn on.

    Raises:
        UsageError: If `cuda` is wanted and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("learner.device: 'cuda' was asked for, but this machine offers no CUDA device")
    return torch.device(wanted)


def prepare_torch(config: RunConfig, threads: int) -> None:
    """Fix what the bytes of this process's operators depend on: CPU threads and the kind of matrix products."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    one_blas_thread()
    # What a GPU needs to compute the same twice; recurrent layers do not without.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = True
    # All weights lie in one vector, with room between them; what cuDNN asks for instead would take them out of it.
    warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous", UserWarning)
    torch.set_float32_matmul_precision("highest" if config.precision == "highest" else "medium")
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed.

    Handing activations back to the kernel after every update, only to have their pages zeroed again, cost the
    learner 8% of its time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 1 << 28)
        mallopt(M_TRIM_THRESHOLD, 1 << 29)
