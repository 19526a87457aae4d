"""Loggers hold what metrics.jsonl holds, also of runs that were killed; what they do wrong is told once, and changes nothing."""

import csv
import json
import math
import signal
import struct
import sys
import time
from dataclasses import dataclass

import pytest

import hydrahive
from hydrahive.telemetry.loggers import background
from hydrahive.telemetry.loggers.base import Logger, LoggerConfig

SMALL = {"shards": 2, "envs_per_shard": 4, "fragment_length": 16, "boundary_every": 5, "workers": 0, "quiet": True}
SMALL |= {"stop": {"updates": 40}, "recording": False, "metrics_every": 2, "evaluate_every": 10, "evaluate_episodes": 4}
SMALL |= {"checkpoint": {"every_boundaries": 1}}


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def of_csv(folder, _):
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: json.loads(text) for name, text in row.items() if text} for row in csv.DictReader(file)]


BLOCK, HEADER = 32_768, 7
"""Of wandb's file, which is LevelDB's log: blocks of records, each with checksum, length and which part of one it is."""


def records_of(data):
    at, parts = HEADER, []
    while at < len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, part = struct.unpack("<IHB", data[at : at + HEADER])
        parts.append(data[at + HEADER : at + HEADER + length])
        at += HEADER + length
        if part in (1, 4):
            yield b"".join(parts)
            parts = []


def of_wandb(folder, _):
    from wandb.proto import wandb_internal_pb2

    rows = []
    newest = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))[-1]  # which has all rows, again
    for data in records_of(newest.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            rows.append({name: value for name, value in row.items() if not name.startswith("_")})
    return rows


def of_mlflow(folder, place):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(place)
    (experiment,) = client.search_experiments(filter_string="name = 'cartpole-vtrace'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["algorithm.init_args.discount"]
    rows = {}
    for name in run.data.metrics:
        for one in client.get_metric_history(run.info.run_id, name):
            assert name not in rows.setdefault(one.step, {}), "each once"
            rows[one.step][name] = one.value
    return [rows[step] for step in sorted(rows)]


def numbers(rows):
    return [{name: float(value) for name, value in row.items() if isinstance(value, int | float)} for row in rows]


KINDS = {"Csv": of_csv, "Wandb": of_wandb, "Mlflow": of_mlflow}


@pytest.mark.parametrize("kind", KINDS)
def test_it_holds_the_rows_of_a_run_that_was_killed_and_went_on(hydrahive_command, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("WANDB_SILENT", "true")
    place = f"sqlite:///{tmp_path}/mlflow.db"
    if kind == "Mlflow":  # whose tables are half made when a process dies that makes them
        from mlflow.tracking import MlflowClient

        MlflowClient(place).search_experiments()
    init = {"Wandb": {"mode": "offline"}, "Mlflow": {"tracking_uri": place}}.get(kind, {})
    options = ["--loggers", json.dumps([{"class_path": kind, "init_args": init}]), "--checkpoint.every_boundaries", 1]
    options += ["--shards", 2, "--envs_per_shard", 4, "--fragment_length", 16, "--boundary_every", 5, "--workers", 0]
    options += ["--metrics_every", 2, "--evaluate_every", 10, "--evaluate_episodes", 4, "--stop.env_steps", 12_000]
    killed = hydrahive_command.start_training("cartpole/vtrace", "a", *options)
    hydrahive_command.stop_at(killed, "a", 5_000, signal.SIGKILL)
    hydrahive_command.train("cartpole/vtrace", "a", *options)
    folder = hydrahive_command.runs / "a"
    assert [event["kind"] for event in map(json.loads, (folder / "events.jsonl").read_text().splitlines())].count(
        "logger_failed"
    ) == 0
    mine, theirs = numbers(rows_of(folder)), numbers(KINDS[kind](folder, place))
    if kind == "Mlflow":  # which keeps metrics of an update, whichever rows they were in
        together = {}
        for row in mine:
            together[row["updates"]] = row | together.get(row["updates"], {})
        mine = [together[update] for update in sorted(together)]
    clocks = ("seconds", "steps_per_second", "learner_share", "recoveries", "replayed_env_steps")
    assert len(mine) == len(theirs) > 20
    for ours, other in zip(mine, theirs, strict=True):
        assert ours.keys() == other.keys()
        for name in ours.keys() - set(clocks) - {name for name in ours if "seconds" in name or "per_second" in name}:
            assert math.isclose(ours[name], other[name], rel_tol=1e-9), name


@pytest.fixture
def hydrahive_command(hydrahive):
    return hydrahive


class Odd(Logger):
    def __init__(self, how):
        self.how = how

    def begin(self, about):
        if self.how == "fails at once":
            raise RuntimeError("no such place\nfor two lines")

    def row(self, row):
        if self.how == "fails later" and row["updates"] > 10:
            raise OSError("gone")
        if self.how == "hangs":
            time.sleep(3600)
        if self.how == "is slow":
            time.sleep(0.02)
        row["env_steps"] = None

    def end(self, summary):
        if self.how == "exits":
            sys.exit(3)


@dataclass(frozen=True)
class OddConfig(LoggerConfig):
    how: str = ""

    def build(self):
        if self.how == "is not installed":
            raise ModuleNotFoundError("No module named 'nothing'")
        return Odd(self.how)


SAYS = {
    "fails at once": "logger OddConfig failed (RuntimeError: no such place",
    "fails later": "logger OddConfig failed (OSError: gone)",
    "hangs": "logger OddConfig has not taken all of the run's story in 1 s",
    "exits": "logger OddConfig failed (SystemExit: 3)",
    "is not installed": "logger OddConfig cannot be imported (No module named 'nothing')",
    "is slow": None,
}


@pytest.mark.parametrize("how", SAYS)
def test_a_logger_that_does_wrong_changes_nothing_and_is_told_of_once(tmp_path, monkeypatch, capsys, how):
    monkeypatch.setattr(background, "CLOSE_SECONDS", 1.0)
    plain = hydrahive.train("cartpole/vtrace", name="plain", runs=tmp_path, **SMALL)
    run = hydrahive.train("cartpole/vtrace", name="odd", runs=tmp_path, loggers=[OddConfig(how)], **SMALL)
    assert run.digest == plain.digest
    assert [row["env_steps"] for row in rows_of(run.path)] == [row["env_steps"] for row in rows_of(plain.path)]
    told = [event["text"] for event in run.events if event["kind"] == "logger_failed"]
    said = capsys.readouterr().err
    if SAYS[how] is None:
        assert told == []
    else:
        assert len(told) == 1
        assert told[0].startswith(SAYS[how])
        assert told[0].endswith("the run goes on without it")
        assert said.count("the run goes on without it") == 1


@pytest.mark.parametrize(
    ("loggers", "says"),
    [
        ([{"class_path": "Wandbb"}], "nearest: Wandb"),
        ([{"class_path": "Csv", "init_args": {"path": "x"}}], "path"),
        ([{"class_path": "Wandb", "init_args": {"mode": "sometimes"}}], "'sometimes'"),
    ],
)
def test_what_no_logger_is_is_refused_in_a_line(tmp_path, loggers, says):
    with pytest.raises(hydrahive.UsageError) as refusal:
        hydrahive.train("cartpole/vtrace", name="a", runs=tmp_path, loggers=loggers, **SMALL)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)
