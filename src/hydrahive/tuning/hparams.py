"""A sweep's values and scores in TensorBoard's table of hyperparameters."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2
from tensorboard.summary.writer.record_writer import RecordWriter

from hydrahive.tuning.config import SweepConfig
from hydrahive.tuning.folder import SweepFolder, trial_name


def write_hparams(
    folder: SweepFolder, config: SweepConfig, trials: Mapping[int, tuple[dict[str, Any], float | None]]
) -> None:
    """Write a session for each trial: its values, and its score as the metric."""
    shutil.rmtree(folder.tensorboard, ignore_errors=True)
    hparams = [summary_v2.HParam(key) for key in config.domains]
    experiment = summary_v2.hparams_config_pb(hparams=hparams, metrics=[summary_v2.Metric(config.metric)])
    _write(folder, ".", [experiment])
    for number, (values, score) in trials.items():
        plain = {
            key: value if isinstance(value, int | float | str | bool) else str(value) for key, value in values.items()
        }
        told = [summary_v2.hparams_pb(plain, trial_id=trial_name(number))] if plain else []
        if score is not None:
            told.append(Summary(value=[Summary.Value(tag=config.metric, simple_value=score)]))
        _write(folder, trial_name(number), told)


def _write(folder: SweepFolder, session: str, summaries: list[Any]) -> None:
    path = folder.tensorboard / session
    path.mkdir(parents=True, exist_ok=True)
    with (path / "events.out.tfevents.0.hydrahive.hparams").open("wb") as file:
        records = RecordWriter(file)
        records.write(Event(wall_time=0.0, file_version="brain.Event:2").SerializeToString())
        for summary in summaries:
            records.write(Event(wall_time=0.0, summary=summary).SerializeToString())
