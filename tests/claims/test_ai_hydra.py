"""ai-hydra's own experiment: what it shows after 48 minutes, here after minutes. Small here, full with `make claims`."""

import numpy as np
import pytest

from conftest import FULL
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.telemetry.story import read_story

EPISODES = 11_500
"""What the original had played after 48 minutes."""


def story_of(hydrahive, name):
    folder = RunFolder(hydrahive.runs / name)
    return read_story(folder.metrics, folder.events, folder.episodes)


def test_the_original_experiment_plays_by_its_rules(hydrahive):
    """Its first episodes: one gradient step for each finished one, of the gears' shapes; buckets never grow with depth."""
    summary = hydrahive.train("snake/ai-hydra", "a", "--stop.env_steps", 25_000, "--workers", 0)
    assert summary["episodes"] - 60 <= summary["gradient_steps"] <= summary["episodes"]
    story = story_of(hydrahive, "a")
    assert story.buckets() == sorted(story.buckets(), reverse=True)
    assert story.gears()[0] == (0, 1)
    assert all(episode > 200 * shift for shift, (episode, _) in enumerate(story.gears()[1:], start=1))


@pytest.mark.skipif(not FULL, reason="minutes; run by make claims")
@pytest.mark.parametrize(("seed", "env_steps"), [(1970, 4_500_000), (1, 1_500_000), (2, 1_500_000)])
def test_it_reaches_what_the_original_shows_after_48_minutes(hydrahive, report, seed, env_steps):
    """One seed to the original's number of episodes, which is some 4 million steps; others until they are there."""
    hydrahive.train("snake/ai-hydra", "a", "--seed", seed, "--stop.env_steps", env_steps)
    story = story_of(hydrahive, "a")
    scores = story.scores[:EPISODES]
    means = np.cumsum(scores) / np.arange(1, len(scores) + 1)
    reached = np.flatnonzero((means >= 20.4) & (np.maximum.accumulate(scores) >= 62))
    at = {one.episode: one for one in story.milestones(500)}
    gears = {episode: at[episode].gear[0] for episode in (500, 1000, 1500, 2000)}
    first = f"{story.seconds[reached[0]]:.0f} s, {reached[0] + 1:,} episodes" if len(reached) else "never"
    report.add(
        "ai-hydra's experiment",
        f"- `snake/ai-hydra` seed {seed}: mean of all episodes so far 20.4 and best 62 after {first} (the original: 48 "
        f"minutes, 11,500 episodes); after {len(scores):,} episodes and {story.seconds[len(scores) - 1]:.0f} s mean "
        f"{means[-1]:.2f}, best {scores.max():g}; gears after 500, 1,000, 1,500 and 2,000 episodes: "
        f"{', '.join(map(str, gears.values()))}",
    )
    assert len(reached)
    assert 2 <= gears[500] <= 3
    assert all(3 <= gears[episode] <= 5 for episode in (1000, 1500, 2000))
    assert all(one.buckets == sorted(one.buckets, reverse=True) for one in at.values())
