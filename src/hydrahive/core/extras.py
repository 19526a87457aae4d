"""Which of our extras brings a package that is not installed, in one line."""

from __future__ import annotations

from hydrahive.core.errors import UsageError, first_line

EXTRAS = {
    "ale_py": "atari",
    "Box2D": "box2d",
    "dm_control": "dm-control",
    "envpool": "envpool",
    "fastapi": "serve",
    "gymnasium_robotics": "robotics",
    "imageio_ffmpeg": "video",
    "minatar": "minatar",
    "minigrid": "minigrid",
    "mlflow": "mlflow",
    "mpe2": "mpe",
    "mujoco": "mujoco",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "optuna": "tune",
    "pandas": "tune",
    "pygame": "pettingzoo",
    "rich": "watch",
    "rlcard": "pettingzoo",
    "shimmy": "dm-control",
    "stable_baselines3": "sb3",
    "starlette": "serve",
    "textual": "watch",
    "textual_plotext": "watch",
    "tree": "rllib",
    "uvicorn": "serve",
    "wandb": "wandb",
}
"""By what a package is imported as."""

SAID = {
    "box2d": "box2d",
    "mujoco": "mujoco",
    "pygame": "pettingzoo",
    "ray[rllib]": "rllib",
    "ray[serve": "serve",
    "ray[tune]": "tune",
}
"""By what others' code says where it looks for a package itself: "run `pip install gymnasium[box2d]`"."""


def how_to_install(error: BaseException) -> str | None:
    """`pip install 'hydrahive[...]'` for what an error says is missing; None if it is about something else."""
    said = str(error).lower()
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").partition(".")[0])
    elif isinstance(error, ImportError) or "install" in said:
        extra = next((extra for text, extra in SAID.items() if text in said), None)
    else:
        extra = None
    return extra and f"pip install 'hydrahive[{extra}]'"


def not_installed(what: str, error: ImportError) -> UsageError:
    """What to say where `what` needs a package that is missing."""
    install = how_to_install(error)
    return UsageError(f"{what} needs {f'what is not installed: {install}' if install else first_line(error)}")
