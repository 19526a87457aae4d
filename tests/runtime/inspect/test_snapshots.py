"""The snapshot report: what a run's files tell, as text and as a page that needs nothing else."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from conftest import TINY
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.telemetry.story import read_story

OPTIONS = [*TINY, "--stop.env_steps", 24_000, "--metrics_every", 1, "--replay.capacity", 4_000, "--replay.cooldown", 20]
OPTIONS += ["--replay.up_threshold", 40, "--replay.down_threshold", 10, "--algorithm.exploration.decay", 0.9]


class Page(HTMLParser):
    """Collects tags, and refuses what would be fetched."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            assert name not in ("src", "href") or not re.match("(https?:)?//", value), f"{tag} fetches {value}"


def test_the_report_tells_the_run(hydrahive, tmp_path):
    summary = hydrahive.train("snake/ath-q", "a", *OPTIONS)
    printed = hydrahive("snapshot", "a", "--every", 100).stdout.split()
    text, page = (hydrahive.runs / "a" / name for name in ("snapshot.txt", "snapshot.html"))
    assert printed == [str(text), str(page)]
    report = text.read_text()
    folder = RunFolder(hydrahive.runs / "a")
    story = read_story(folder.metrics, folder.events, folder.episodes)
    assert len(story.scores) == summary["episodes"]
    assert story.scores.max() == summary["score_max"]
    assert np.mean(story.scores[-100:]) == pytest.approx(summary["score_mean"])
    for title in ("Config: replay", "Config: algorithm", "High scores", "Scores and gears", "Buckets", "Events"):
        assert f"\n{title}" in report
    milestones = story.milestones(100)
    assert [one.episode for one in milestones[:-1]] == list(range(100, milestones[-1].episode, 100))
    last = milestones[-1]
    assert (last.mean, last.gear[0]) == (pytest.approx(story.scores.mean()), story.gears()[-1][1])
    assert sorted(last.buckets, reverse=True) == last.buckets
    assert f"{last.mean:.2f}" in report
    records = story.records()
    assert records[-1].score == summary["score_max"]
    assert story.scores[records[-1].episode - 1] == records[-1].score
    # A resumed run tells again what happened after its checkpoint; the story tells it once.
    told = [json.loads(line) for line in folder.events.read_text().splitlines()]
    at = told[len(told) // 2]["updates"]
    later = [event for event in told if event["kind"].startswith("replay_") and event["updates"] > at]
    assert later
    resumed = {"kind": "resumed", "text": "resumed", "updates": at}
    folder.events.write_text("\n".join(map(json.dumps, [*told, resumed, *later])) + "\n")
    again = read_story(folder.metrics, folder.events, folder.episodes)
    assert again.gears() == story.gears()
    assert again.milestones(100) == milestones
    tags = Page(page.read_text()).tags
    assert tags.count("svg") == 6
    assert "script" not in tags


def test_a_run_without_replay_and_without_a_finished_episode_has_a_report(hydrahive):
    options = ["--stop.env_steps", 64, "--envs_per_shard", 4, "--fragment_length", 4, "--workers", 0]
    hydrahive.train("cartpole/vtrace", "young", *options)
    hydrahive("snapshot", "young")
    assert "no episode has finished yet" in (hydrahive.runs / "young" / "snapshot.txt").read_text()
    refused = hydrahive("snapshot", "young", "--out", "/nowhere", code=2)
    assert "--out" in refused.stderr


def test_scores_that_are_none_are_left_out_of_a_story(tmp_path):
    (tmp_path / "episodes.jsonl").write_text(
        '{"updates": 1, "seconds": 1.5, "scores": [3.0, NaN, 4]}\n{"updates": 2, "scores": [null, "x", Infinity, 5]}\n'
    )
    (tmp_path / "events.jsonl").write_text('{"kind": "started"}\n')
    story = read_story(tmp_path / "metrics.jsonl", tmp_path / "events.jsonl", tmp_path / "episodes.jsonl")
    assert story.scores.tolist() == [3.0, 4.0, 5.0]
    assert story.seconds.tolist()[:2] == [1.5, 1.5]
    assert [record.episode for record in story.records()] == [1, 2, 3]
