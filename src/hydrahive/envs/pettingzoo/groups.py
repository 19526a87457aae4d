"""Which agents of a world are alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from hydrahive.core.errors import ConfigError


def members_of(groups: Mapping[str, Sequence[str]] | None, agents: list[str]) -> list[list[str]]:
    """The agents of each group; without groups, all in one.

    Raises:
        ConfigError: If a group has no agent, or an agent not exactly one group.
    """
    if groups is None:
        return [agents]
    members = [
        [agent for agent in agents if any(fnmatchcase(agent, name) for name in named)] for named in groups.values()
    ]
    for name, found in zip(groups, members, strict=True):
        if not found:
            raise ConfigError("groups", name, f"patterns that agents' names match: {', '.join(agents)}")
    for agent in agents:
        count = sum(agent in found for found in members)
        if count != 1:
            raise ConfigError("groups", dict(groups), f"each agent in one group; {agent} is in {count or 'none'}")
    return members
