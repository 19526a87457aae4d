"""The swarm under the names that PettingZoo's users expect: `swarm_v0.parallel_env()`."""

from hydrahive.envs.swarm.parallel import SwarmParallel

parallel_env = SwarmParallel
