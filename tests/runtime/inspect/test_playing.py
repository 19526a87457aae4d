"""Pictures of what was learned: of one environment, of a world of agents, and beside the untrained policy."""

import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader as EventFileLoader

from conftest import full_only
from hydrahive.runtime.inspect.playing import side_by_side


def test_a_world_is_shown_beside_the_untrained_policy(hydrahive, tmp_path):
    options = ["--env.agents", 4, "--envs_per_shard", 4, "--env.time_limit", 20, "--policy.core.hidden", 8]
    hydrahive.train("swarm/vtrace-lstm", "a", *options, "--workers", 0, "--stop.env_steps", 500)
    out = tmp_path / "a.gif"
    hydrahive("play", "a", "--out", out, "--before")
    with Image.open(out) as picture:
        assert picture.size == (2 * 640 + 8, 480)
        assert picture.n_frames >= 15


@pytest.mark.parametrize(
    ("experiment", "options"),
    [
        ("pettingzoo/connect-four", ["--env", '{"class_path": "PettingZoo", "init_args": {"id": "mpe2.simple_v3"}}']),
        pytest.param(
            "swarm/vtrace-lstm", ["--env.agents", 1, "--env.time_limit", 20, "--policy.core.hidden", 8], marks=full_only
        ),
    ],
)
def test_a_world_of_one_agent_is_checked_and_shown(hydrahive, tmp_path, experiment, options):
    options = [*options, "--envs_per_shard", 4]
    assert "Gymnasium's checker takes it" in hydrahive("check-env", experiment, *options).stdout
    hydrahive.train(experiment, "a", *options, "--workers", 0, "--stop.env_steps", 500)
    out = tmp_path / "a.gif"
    hydrahive("play", "a", "--out", out)
    with Image.open(out) as picture:
        assert picture.n_frames >= 15


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=full_only)])
def test_tensorboard_gets_a_moving_picture_now_and_then(hydrahive, workers):
    options = ["--env.agents", 4, "--envs_per_shard", 4, "--env.time_limit", 20, "--policy.core.hidden", 8]
    options += ["--pictures_every", 2, "--workers", workers, "--stop.env_steps", 900]
    hydrahive.train("swarm/vtrace-lstm", "a", *options)
    files = sorted((hydrahive.runs / "a" / "tb").iterdir())
    clips = {
        event.step: value.image
        for file in files
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
        if value.tag == "policy"
    }
    assert clips
    assert all(step % 320 == 0 for step in clips)
    for image in clips.values():
        with Image.open(io.BytesIO(image.encoded_image_string)) as picture:
            assert picture.size == (image.width, image.height) == (640, 480)
            assert picture.n_frames >= 15


def test_the_shorter_one_stays_at_its_last_picture():
    left, right = (
        [np.full((2, 3, 3), i, np.uint8) for i in range(2)],
        [np.full((2, 3, 3), 9 + i, np.uint8) for i in range(4)],
    )
    both = side_by_side(left, right)
    assert [(int(frame[0, 0, 0]), int(frame[0, -1, 0])) for frame in both] == [(0, 9), (1, 10), (1, 11), (1, 12)]
