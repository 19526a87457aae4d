"""What byte equality is relative to: two machines of one class compute the same bytes."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from hydrahive.core.errors import UsageError
from hydrahive.runtime.config import RunConfig

def machine_class(config: RunConfig, device: str = "cpu") -> str:
    """Instruction set, torch build, threads per role, device and precision of this process's part in the run."""
    if config.portable:
        processor = "portable-avx2"
    else:
        processor = f"{_vendor()}-{torch.backends.cpu.get_cpu_capability()}".lower()
    if device == "cuda":
        device = torch.cuda.get_device_name().replace(" ", "-").lower()
    learner = config.learner
    return "/".join(
        [
            f"{platform.machine()}-{processor}",
            f"torch-{torch.__version__}",
            f"threads-1-{learner.threads}",
            device,
            learner.precision,
        ]
    )


def learner_device(wanted: str) -> torch.device:
    """The device to learn on.

    Raises:
        UsageError: If `cuda` is wanted and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("learner.device: 'cuda' was asked for, but this machine offers no CUDA device")
    return torch.device(wanted)


def set_threads(threads: int) -> None:
    """Fix the number of CPU threads that torch's operators use from here on."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _vendor() -> str:
    """The processor's maker: its libraries take other code paths on others' processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    vendor = next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "unknown")
    return vendor.removeprefix("Genuine").removeprefix("Authentic")
