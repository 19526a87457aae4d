"""What answers cost, and how much may be asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jsonargparse import ArgumentParser

from hydrahive.core.config import require, require_integer, require_number
from hydrahive.runtime.config.parsing import config_arguments, parse
from hydrahive.runtime.config.plain import built


@dataclass(frozen=True)
class ServingConfig:
    """How runs are served.

    Attributes:
        microtokens_per_query: Price of a `/v1/act`, in millionths of a token, however many rows it has; recorded with
            each entry. 0 asks for no key at all.
        microtokens_per_episode: Price of a `/v1/episode`, likewise.
        queries_per_second: What an account may ask on average; twice as many at once.
        rows: Observations in one query at most.
        body_bytes: Size of a request's body at most.
        reload_seconds: Time between two looks for a run's newer checkpoint.
        episode_frames: Pictures of an episode's GIF at most.
        replicas: Processes that answer, each with all runs.
        cpus: CPUs that each of them keeps for itself; with 0 they share theirs with whatever else the cluster does.
    """

    microtokens_per_query: int = 500_000
    microtokens_per_episode: int = 5_000_000
    queries_per_second: int = 1000
    rows: int = 256
    body_bytes: int = 8 * 2**20
    reload_seconds: float = 2.0
    episode_frames: int = 600
    replicas: int = 1
    cpus: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        require_integer("microtokens_per_query", self.microtokens_per_query, 0, 10**12)
        require_integer("microtokens_per_episode", self.microtokens_per_episode, 0, 10**12)
        require_integer("queries_per_second", self.queries_per_second, 1, 10**6)
        require_integer("rows", self.rows, 1, 10**5)
        require_integer("body_bytes", self.body_bytes, 1024, 2**30)
        require_integer("episode_frames", self.episode_frames, 1, 10**4)
        require_integer("replicas", self.replicas, 1, 1000)
        require_number("cpus", self.cpus, 0)
        require(self.reload_seconds > 0, "reload_seconds", self.reload_seconds, "a number of seconds above 0")


def load_serving(path: Path | None, overrides: dict[str, int]) -> ServingConfig:
    """What a YAML file says, and then `overrides`, by key; the rest is as it is by default.

    Raises:
        UsageError: If the file cannot be read, or a key is unknown.
        ConfigError: If a value is not accepted.
    """
    parser = ArgumentParser(exit_on_error=False, prog="hydrahive serve", add_help=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file whose keys replace the defaults.")
    parser.add_class_arguments(ServingConfig)
    arguments = config_arguments(path, ServingConfig) if path else []
    arguments += [word for key, value in overrides.items() for word in (f"--{key}", str(value))]
    given = parse(parser, arguments, ServingConfig).as_dict()
    given.pop("config", None)
    return built(given, ServingConfig)
