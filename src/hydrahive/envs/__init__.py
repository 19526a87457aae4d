"""Environments: fast vectors of them, and the single-agent faces that their users expect.

Importing this package registers `hydrahive/Snake-v0` and `hydrahive/Atari-v0` with Gymnasium.
"""

import gymnasium

gymnasium.register(
    id="hydrahive/Snake-v0",
    entry_point="hydrahive.envs.snake.single:SnakeEnv",
    vector_entry_point="hydrahive.envs.snake.vector:make_snake_vector",
)
gymnasium.register(
    id="hydrahive/Atari-v0",
    entry_point="hydrahive.envs.atari.registered:make_atari",
    vector_entry_point="hydrahive.envs.atari.registered:make_atari_vector",
)
