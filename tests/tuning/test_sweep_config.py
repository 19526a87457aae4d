"""Sweeps are refused in one line before anything is trained."""

import pytest
import yaml

from conftest import FULL, ROOT
from hydrahive.core.errors import UsageError
from hydrahive.pilot.space import Range
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.plain import dump
from hydrahive.runtime.config.shipped import shipped_sweeps
from hydrahive.tuning.checks import known_metrics, refuse_unusable
from hydrahive.tuning.config import load_sweep
from hydrahive.tuning.search.sources import Listed

GOOD = {
    "experiment": "snake/vtrace",
    "space": {"algorithm.learning_rate": {"log_uniform": [1e-4, 1e-2]}},
    "budget": {"trials": 2, "env_steps": 100_000},
}


def refused(tmp_path, **changes):
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    with pytest.raises(UsageError) as error:
        refuse_unusable(load_sweep(path).settled())
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"space": {"algorithm.learning_rte": {"uniform": [0, 1]}}}, "nearest: algorithm.learning_rate"),
        ({"space": {"algorithm.discount": {"uniform": [0.5, 1.5]}}}, "discount: 1.5 is not accepted"),
        ({"space": {"envs_per_shard": {"uniform": [8, 16]}}}, "envs_per_shard"),
        ({"space": {"algorithm.optimizer": {"choice": ["adam", "sgd"]}}}, "sgd"),
        ({"space": {"envs_per_shard": {"integer": [1, 10**310]}}}, "two finite numbers"),
        ({"space": {"policy.core": {"choice": ["Gru", "Gruu"]}}}, "Gruu"),
        ({"fixed": {"evaluate_every": 45}, "metric": "evaluation_mean"}, "evaluate_every: 45 is not accepted"),
        ({"space": {}}, "at least one key"),
        ({"metric": "scor_mean"}, "nearest: score_mean"),
        ({"metric": "evaluation_mean"}, "known: score_mean"),
        ({"budget": {"trials": 0}}, "trials: 0"),
        ({"budget": {"env_steps": 0}}, "env_steps: 0"),
        ({"experiment": "snake/vtrac"}, "snake/vtrace"),
        ({"fixed": {"lagg": 2}}, "lag"),
        ({"fixed": {"schedule": "free-running"}}, "cannot be continued"),
        ({"search": "Optuna", "scheduler": "Pbt"}, "beside Pbt"),
        ({"search": "RandomSearch", "scheduler": "Pbt", "concurrent": 2}, "concurrent: 2"),
        (
            {"search": "RandomSearch", "scheduler": "Pbt", "space": {"env.size": {"integer": [8, 12]}}},
            "a key that can change inside a run: algorithm.c_clip",
        ),
        ({"search": "RandomSearch", "scheduler": "Pbt", "budget": {"trials": 1}}, "budget.trials: 1"),
        ({"scheduler": "Asah"}, "Asha"),
        ({"trials": 3}, "trials"),
        ({"fixed": {"stop.env_steps": 5}}, "keys but those that a sweep sets: stop"),
        ({"space": {"seed": {"integer": [0, 9]}}}, "keys but those"),
        ({"fixed": {"algorithm.init_args.learning_rate": 1e-3}}, "each key once"),
        ({"space": {3: {"uniform": [0, 1]}}}, "dotted keys"),
        (
            {
                "experiment": "pettingzoo/connect-four",
                "space": {"envs_per_shard": {"integer": [4, 8]}},
                "budget": {"trials": 5, "env_steps": 1000},
                "search": {"class_path": "GridSearch", "init_args": {"points": 5}},
            },
            "a multiple of 2",
        ),
        (
            {"search": "GridSearch", "scheduler": "Pbt", "budget": {"trials": 4}},
            "at most 3, the combinations of the grid",
        ),
    ],
)
def test_a_sweep_that_cannot_be_run_is_refused(tmp_path, changes, says):
    assert says in refused(tmp_path, **changes)


def test_choices_are_what_configs_hold(tmp_path):
    path = tmp_path / "sweep.yaml"
    space = {
        "policy.core": {"choice": ["none", "Gru", {"class_path": "Lstm", "init_args": {"hidden": 8}}]},
        "algorithm.learning_rate": {"choice": ["1e-3", 5e-4]},
    }
    path.write_text(yaml.safe_dump({**GOOD, "space": space}))
    sweep = load_sweep(path).settled()
    assert sweep == sweep.settled()
    assert sweep.domains["algorithm.learning_rate"].values == (1e-3, 5e-4)
    base = refuse_unusable(sweep)
    kinds = []
    for value in sweep.domains["policy.core"].values:
        config = sweep.run_config(base, {"policy.core": value})
        kinds.append(config.policy.core_kind)
        (tmp_path / "run.yaml").write_text(dump(config))
        assert load_run_config(tmp_path / "run.yaml") == config, "what is written is what is trained"
    assert kinds == ["none", "gru", "lstm"]


def test_an_experiment_with_changes_of_its_own_is_no_base(tmp_path):
    (tmp_path / "winner.yaml").write_text(
        (ROOT / "experiments/snake/vtrace.yaml").read_text()
        + "\nchanges: [{from_update: 25, key: algorithm.learning_rate, value: 0.0005}]\n"
    )
    assert "changes inside the run" in refused(tmp_path, experiment=str(tmp_path / "winner.yaml"))


def test_a_grid_is_not_listed_beyond_its_trials():
    many = Range(0.0, 1.0)
    listed = Listed(1000, dict.fromkeys("abcdef", many), 3)
    assert [listed.values(number) is None for number in range(4)] == [False] * 3 + [True]


@pytest.mark.parametrize("name", shipped_sweeps())
def test_every_shipped_sweep_can_be_run(name):
    sweep = load_sweep(shipped_sweeps()[name])
    base = refuse_unusable(sweep)
    assert sweep.milestones(base) >= 3


def test_milestones_are_boundaries_and_cover_the_budget(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({**GOOD, "fixed": {"boundary_every": 3}, "budget": {"env_steps": 100_000}}))
    sweep = load_sweep(path)
    base = sweep.base()
    every = sweep.milestone_updates(base)
    config = sweep.run_config(base, {"algorithm.learning_rate": 1e-3})
    assert every % 3 == 0
    assert config.stop.updates == every * sweep.milestones(base)
    assert config.stop.updates * config.max_steps_per_round >= 100_000 > (config.stop.updates - every) * 4096


def test_what_runs_are_said_to_report_is_what_they_report(hydrahive):
    experiments = {"snake/ath-q": ["--replay.capacity", 20_000]} | ({"snake/vtrace": []} if FULL else {})
    for experiment, options in experiments.items():
        name = experiment.replace("/", "-")
        more = ["--stop.env_steps", 20_000, "--workers", 0, "--recording", "false", "--evaluate_every", 2]
        hydrahive.train(experiment, name, *more, "--envs_per_shard", 8, "--evaluate_episodes", 2, *options)
        sweep = load_sweep(ROOT / "experiments" / "sweeps" / "snake-optuna.yaml", ["--experiment", experiment])
        from hydrahive.runtime.runs.run_folder import RunFolder

        base = RunFolder(hydrahive.runs / name).config()
        rows = (hydrahive.runs / name / "metrics.jsonl").read_text().splitlines()
        told = {key for row in rows for key in yaml.safe_load(row)}
        assert set(known_metrics(base)) <= told
        assert sweep.metric in told
