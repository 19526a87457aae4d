"""Pictures of what was learned: of one environment, of a world of agents, and beside the untrained policy."""

import numpy as np
from PIL import Image

from hydrahive.runtime.playing import side_by_side


def test_a_world_is_shown_beside_the_untrained_policy(hydrahive, tmp_path):
    options = ["--env.agents", 4, "--envs_per_shard", 4, "--env.time_limit", 20, "--policy.core.hidden", 8]
    hydrahive.train("swarm/vtrace-lstm", "a", *options, "--workers", 0, "--stop.env_steps", 500)
    out = tmp_path / "a.gif"
    hydrahive("play", "a", "--out", out, "--before")
    with Image.open(out) as picture:
        assert picture.size == (2 * 640 + 8, 480)
        assert picture.n_frames >= 15


def test_the_shorter_one_stays_at_its_last_picture():
    left, right = (
        [np.full((2, 3, 3), i, np.uint8) for i in range(2)],
        [np.full((2, 3, 3), 9 + i, np.uint8) for i in range(4)],
    )
    both = side_by_side(left, right)
    assert [(int(frame[0, 0, 0]), int(frame[0, -1, 0])) for frame in both] == [(0, 9), (1, 10), (1, 11), (1, 12)]
