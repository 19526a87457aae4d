"""The scheduler that breeds: who waits, who goes on, and what becomes of the lost."""

import types

import pytest
import yaml
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import TrialScheduler

from hydrahive.runtime.config.plain import dump
from hydrahive.tuning.config import load_sweep
from hydrahive.tuning.folder import SweepFolder, trial_name
from hydrahive.tuning.search.schedulers import scheduler_of
from hydrahive.tuning.trials.trial import Task

SWEEP = {
    "experiment": "snake/vtrace",
    "space": {"algorithm.learning_rate": {"log_uniform": [1e-4, 1e-2]}},
    "budget": {"trials": 4, "env_steps": 1_000_000, "milestones": 4},
    "search": "RandomSearch",
    "scheduler": "Pbt",
}


class Controller:
    """Tune's, as far as a scheduler sees it: it hands itself over, now in a wrapper and now not."""

    def __init__(self, trials):
        self.trials, self.scheduled = trials, []

    def get_trials(self):
        return self.trials

    def _schedule_trial_train(self, trial):
        self.scheduled.append(trial.number)

    @property
    def wrapped(self):
        return types.SimpleNamespace(get_trials=self.get_trials, _tune_controller=self)


@pytest.fixture
def stage(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(SWEEP))
    config, folder = load_sweep(path), SweepFolder(tmp_path / "s")
    base = config.base()
    folder.create(config, base)
    trials = []
    for number in range(4):
        run = config.run_config(base, {"algorithm.learning_rate": 1e-3 * (number + 1)})
        folder.run(trial_name(number)).path.mkdir()
        (folder.run(trial_name(number)).path / "config.yaml").write_text(dump(run))
        task = Task(trial_name(number), run, number, True)
        trial = types.SimpleNamespace(number=number, config={"task": task}, status=TuneTrial.RUNNING)
        trial.should_recover = lambda: False
        trials.append(trial)
    controller, breeder = Controller(trials), scheduler_of(config, folder)
    for trial in trials:
        breeder.on_trial_add(controller.wrapped, trial)
    return breeder, controller, folder


def tell(stage, number, milestone, score):
    breeder, controller, _ = stage
    result = {"milestone": milestone, "updates": 25 * milestone, "score": score}
    return breeder.on_trial_result(controller.wrapped, controller.trials[number], result)


def test_all_wait_for_the_last_and_then_go_on(stage):
    _, controller, folder = stage
    assert [tell(stage, n, 1, float(n)) for n in (2, 0, 3)] == [TrialScheduler.NOOP] * 3
    assert folder.decisions() == []
    assert tell(stage, 1, 1, 1.0) == TrialScheduler.CONTINUE
    assert controller.scheduled == [0, 2, 3]
    (decision,) = folder.decisions()
    assert decision.scores == {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0}
    assert [(exploit.trial, exploit.donor) for exploit in decision.exploits] == [(0, 3)]


def test_the_last_at_a_barrier_fails_and_the_others_go_on_without_it(stage):
    breeder, controller, folder = stage
    for number in (0, 1, 2):
        tell(stage, number, 1, float(number))
    breeder.on_trial_complete(controller, controller.trials[3], {"failed": "diverged"})
    assert controller.scheduled == [0, 1, 2]
    assert list(folder.decisions()[0].scores) == [0, 1, 2]


def test_one_whose_process_dies_is_awaited_if_it_is_taken_up_again(stage):
    breeder, controller, folder = stage
    for number in (0, 1, 2):
        tell(stage, number, 1, float(number))
    controller.trials[3].should_recover = lambda: True
    breeder.on_trial_error(controller, controller.trials[3])
    breeder.on_trial_add(controller.wrapped, controller.trials[3])
    assert folder.decisions() == []
    assert tell(stage, 3, 1, 3.0) == TrialScheduler.CONTINUE
    assert list(folder.decisions()[0].scores) == [0, 1, 2, 3]


def test_what_is_told_again_after_a_restart_goes_straight_on(stage):
    _, controller, folder = stage
    for number in range(4):
        tell(stage, number, 1, float(number))
    again = scheduler_of(folder.config(), folder), controller, folder
    for trial in controller.trials:
        again[0].on_trial_add(controller.wrapped, trial)
    assert [tell(again, number, 1, float(number)) for number in range(4)] == [TrialScheduler.CONTINUE] * 4
    assert len(folder.decisions()) == 1


def test_one_that_others_went_on_without_is_stopped_when_it_comes_after_all(stage):
    breeder, controller, _ = stage
    for number in (0, 1, 2):
        tell(stage, number, 1, float(number))
    breeder.on_trial_error(controller, controller.trials[3])
    assert tell(stage, 3, 1, 9.0) == TrialScheduler.STOP


def test_where_others_want_in_a_trial_gives_its_process_away(stage):
    breeder, controller, _ = stage
    controller.trials[2].status = controller.trials[3].status = TuneTrial.PENDING
    assert tell(stage, 0, 1, 0.0) == TrialScheduler.PAUSE
    assert tell(stage, 1, 1, 1.0) == TrialScheduler.PAUSE
    controller.trials[0].status = controller.trials[1].status = TuneTrial.PAUSED
    controller.trials[2].status = controller.trials[3].status = TuneTrial.RUNNING
    assert breeder.choose_trial_to_run(controller.wrapped) is None
    assert tell(stage, 2, 1, 2.0) == TrialScheduler.NOOP
    assert tell(stage, 3, 1, 3.0) == TrialScheduler.CONTINUE
    assert controller.scheduled == [2]
    assert breeder.choose_trial_to_run(controller.wrapped) is controller.trials[0]
