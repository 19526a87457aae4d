"""Values that change over the run's own env steps."""

from __future__ import annotations

from dataclasses import dataclass

from hydrahive.core.config import require_integer, require_number


@dataclass(frozen=True)
class Linear:
    """A straight line from `start` to `end`, constant afterwards.

    Attributes:
        start: Value at env step 0.
        end: Value from `env_steps` on.
        env_steps: Length of the line, in env steps.
    """

    start: float
    end: float
    env_steps: int

    def __post_init__(self) -> None:
        """Refuse values that are not finite and a line without length."""
        require_number("start", self.start)
        require_number("end", self.end)
        require_integer("env_steps", self.env_steps, 1)


def value_at(schedule: float | Linear, env_steps: int) -> float:
    """The scheduled value after `env_steps` env steps."""
    if not isinstance(schedule, Linear):
        return schedule
    done = min(1.0, env_steps / schedule.env_steps)
    return schedule.start + done * (schedule.end - schedule.start)


def bounds(schedule: float | Linear) -> tuple[float, float]:
    """The smallest and largest value the schedule takes."""
    if not isinstance(schedule, Linear):
        return schedule, schedule
    return min(schedule.start, schedule.end), max(schedule.start, schedule.end)
