"""What byte equality is relative to: two machines of one class compute the same bytes."""

from __future__ import annotations

import ctypes
import os
import platform
import warnings

import torch

from hydrahive.core.errors import UsageError
from hydrahive.core.processor import bfloat16_units, cpu_fact
from hydrahive.runtime.config.run_config import RunConfig

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's `mallopt` parameters, from malloc.h."""


def machine_class(config: RunConfig, device: str = "cpu") -> str:
    """Instruction set, torch build, threads per role, device and precision of this process's part in the run."""
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
            f"{platform.machine()}-{processor}",
            f"torch-{torch.__version__}",
            f"threads-1-{learner.threads}",
            device,
            config.precision,
        ]
    )


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
