"""Reports and comparisons of runs: what they say is what the files hold, as text, as pages, as pictures."""

import json
import re
from html.parser import HTMLParser

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import TINY
from hydrahive.runtime.inspect.side_by_side import difference, parting
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.telemetry.recording import mp4_of

SMALL = [*TINY, "--stop.updates", 12, "--metrics_every", 1, "--evaluate_every", 6, "--evaluate_episodes", 4]


class Strict(HTMLParser):
    """Counts elements, and refuses what does not close."""

    VOID = {"meta", "img", "br", "path", "use"}

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.outside = [], {}, []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        links = [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]
        self.outside += [link for link in links if not link.startswith(("#", "data:"))]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture
def runs(hydrahive):
    hydrahive.train("snake/vtrace", "first", *SMALL)
    hydrahive.train("snake/vtrace", "same", *SMALL)
    hydrahive.train("snake/vtrace", "other", *SMALL, "--algorithm.entropy_cost", 0.03)
    return hydrahive


def test_a_report_holds_the_run_and_needs_no_other_file(runs):
    place = runs.runs / "first" / "report.html"
    runs("play", "first", "--out", runs.runs / "first" / "episode.gif", "--max-frames", 20)
    assert runs("report", "first").stdout.strip() == str(place)
    text, summary = place.read_text(), RunFolder(runs.runs / "first").read_summary()
    page = Strict(text)
    assert not page.outside
    assert summary["digest"] in text
    assert page.seen["svg"] >= 6
    assert page.seen["img"] == 1, "the recording"
    assert "root" in text, "who was paid"
    assert f"{summary['env_steps'] / 1e5:.6f}" in text, "and how much: a token for 100,000 Snake steps"
    assert "evaluation, held-out seeds" in text or "evaluation" in text
    assert "prefers-color-scheme: dark" in text
    assert "#1b1f24" not in text[text.index("</style>") :], "ink takes the page's colour"
    runs("report", "first", "--out", runs.runs / "first.txt", code=2)
    runs("report", "nobody", code=2)


def test_a_report_of_a_run_without_an_update_is_one(hydrahive):
    hydrahive.train("snake/vtrace", "first", *SMALL)
    folder = RunFolder(hydrahive.runs / "first")
    for path in (folder.metrics, folder.episodes, folder.events, folder.recording, folder.path / "summary.json"):
        path.unlink(missing_ok=True)
    hydrahive("report", "first")
    assert "not finished" in (folder.path / "report.html").read_text()


def test_runs_are_held_against_the_first(runs, tmp_path):
    said = runs("compare", "first", "same", "other", "--out", tmp_path / "page.html").stdout
    assert "same: the same digest as first" in said
    assert re.search(r"other: differs from first from update \d+ on \([\d,]+ env steps\): \w+ \S+, not \S+", said)
    assert "algorithm.init_args.entropy_cost" in said
    page = Strict((tmp_path / "page.html").read_text())
    assert page.seen["svg"] == 2
    assert not page.outside
    told = json.loads(runs("compare", "first", "other", "--json").stdout)
    assert told["names"] == ["first", "other"]
    assert [row[0] for row in told["differences"]] == ["algorithm.init_args.entropy_cost"]
    runs("compare", "first", code=2)
    runs("compare", "first", "nobody", code=2)


def row(updates, **values):
    return {"updates": updates, "env_steps": 10 * updates, "loss": 1.0, "seconds": updates / 3, **values}


def test_where_runs_part_is_the_first_row_of_both_that_differs():
    mine = [row(1), row(2, entropy=0.5), row(3, entropy=0.4), row(4, entropy=0.1)]
    theirs = [row(1, seconds=9), row(3, entropy=0.3, learn_seconds=1), row(4)]
    found = parting(mine, theirs)
    assert (found.updates, found.column, found.mine, found.theirs) == (3, "entropy", 0.4, 0.3)
    assert parting(mine, mine) is None
    assert parting([row(1, loss=float("nan"))], [row(1, loss=float("nan"))]) is None
    assert parting([], theirs) is None


@settings(deadline=None, max_examples=30)
@given(
    mine=st.lists(st.integers(-100, 100), min_size=2, max_size=50),
    theirs=st.lists(st.integers(-100, 100), min_size=2, max_size=50),
)
def test_a_difference_lies_within_its_interval(mine, theirs):
    low, high = difference(np.array(mine, float), np.array(theirs, float))
    assert low <= high
    assert min(mine) - max(theirs) <= low
    assert high <= max(mine) - min(theirs)


@pytest.mark.parametrize("shape", [(9, 13), (210, 160), (401, 333)])
def test_an_mp4_has_the_frames(tmp_path, shape):
    frames = [np.full((*shape, 3), shade, np.uint8) for shade in range(40, 240, 20)]
    path = tmp_path / "some.mp4"
    path.write_bytes(mp4_of(frames, 10))
    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    assert about["fps"] == 10
    assert about["codec"] == "h264"
    assert min(about["size"]) >= 240 - 240 % min(shape)
    seen = [np.frombuffer(frame, np.uint8).mean() for frame in reader]
    np.testing.assert_allclose(seen, range(40, 240, 20), atol=4)


def test_an_episode_is_recorded_as_an_mp4(runs, tmp_path):
    runs("play", "first", "--out", tmp_path / "episode.mp4", "--max-frames", 20)
    assert (tmp_path / "episode.mp4").read_bytes()[4:8] == b"ftyp"
    assert not list(tmp_path.glob("*.tmp*"))
