"""MuJoCo's environments are restored to the byte, whatever they change; what could reach memory is never set."""

import json

import gymnasium
import mujoco
import numpy as np
import pytest

from conftest import FULL
from hydrahive.core.errors import ConfigError, HydrahiveError, SnapshotUnsupportedError, StateRefusedError
from hydrahive.envs.gym.config import Gym
from hydrahive.envs.plain import state as plain_state

SOME = ("HalfCheetah-v5", "Ant-v5", "Pusher-v5", "gymnasium_robotics:FetchReach-v4", "shimmy:dm_control/cheetah-run-v0")
MORE = (
    "Hopper-v5", "Walker2d-v5", "Humanoid-v5", "HumanoidStandup-v5", "Reacher-v5", "Swimmer-v5", "InvertedPendulum-v5",
    "InvertedDoublePendulum-v5", "gymnasium_robotics:FetchPush-v4", "gymnasium_robotics:HandReach-v3",
    "gymnasium_robotics:PointMaze_UMaze-v3", "gymnasium_robotics:AntMaze_UMaze-v5",
    "shimmy:dm_control/ball_in_cup-catch-v0", "shimmy:dm_control/humanoid-walk-v0",
    "shimmy:dm_control/manipulator-bring_ball-v0", "shimmy:dm_control/acrobot-swingup-v0",
)  # fmt: skip


class Other(gymnasium.Wrapper):
    """Each episode has other gravity, masses and friction."""

    def reset(self, **options):
        given = super().reset(**options)
        world = self.unwrapped
        world.model.opt.gravity[2] = -9.81 * world.np_random.uniform(0.5, 1.5)
        world.model.opt.timestep = 0.01 * world.np_random.uniform(0.9, 1.0)
        world.model.body_mass[1:] *= world.np_random.uniform(0.9, 1.1)
        return given


def actions_for(env, draw):
    low, high = env.single_action_space.low, env.single_action_space.high
    return draw.uniform(low, high, env.action_space.shape).astype(env.single_action_space.dtype)


def goes_on_the_same(config, seed):
    """One vector's snapshot, put into another one that stands elsewhere, and both go on."""
    draw = np.random.default_rng(seed)
    one, other = config.make_vector(2), config.make_vector(2)
    for env, steps in ((one, int(draw.integers(1, 120))), (other, int(draw.integers(1, 60)))):
        env.reset(seed=int(draw.integers(1000)))
        for _ in range(steps):
            env.step(actions_for(env, draw))
    kept = one.snapshot()
    assert all(np.array_equal(value, one.snapshot()[name]) for name, value in kept.items()), "looking changes nothing"
    other.restore(kept)
    for _ in range(200 if FULL else 80):
        actions = actions_for(one, draw)
        for here, there in zip(one.step(actions)[:4], other.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(here, there)
    for name, value in one.snapshot().items():
        np.testing.assert_array_equal(value, other.snapshot()[name], name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOME + (MORE if FULL else ()))
@pytest.mark.parametrize("seed", range(5 if FULL else 1))
def test_what_is_restored_goes_on_to_the_byte(name, seed):
    goes_on_the_same(Gym(name), seed)


@pytest.mark.parametrize("seed", range(3))
def test_models_that_change_are_restored_too(seed):
    goes_on_the_same(Gym("Hopper-v5", wrappers=[f"{__name__}.Other"]), seed)


def changing_integers(env):
    env.unwrapped.model.geom_bodyid[:] = env.unwrapped.model.geom_bodyid[::-1].copy()


def changing_solver(env):
    env.unwrapped.model.opt.iterations += 1


@pytest.mark.parametrize("change", [changing_integers, changing_solver])
def test_models_whose_integers_change_are_refused(change):
    env = gymnasium.make("Hopper-v5")
    names = plain_state.Names.of(env)
    plain_state.capture(env, names)
    change(env)
    with pytest.raises(SnapshotUnsupportedError, match="which are not floats"):
        plain_state.capture(env, names)


def test_a_model_made_later_is_refused():
    env = gymnasium.make("Hopper-v5").unwrapped
    names = plain_state.Names.of(env)
    env.data = mujoco.MjData(env.model)
    with pytest.raises(SnapshotUnsupportedError, match="MjData, which it did not when made"):
        plain_state.capture(env, names)


DELAYED = """<mujoco><worldbody><body><joint name="j" type="hinge"/><geom size=".1"/></body></worldbody>
<actuator><motor joint="j" {delay}/></actuator></mujoco>"""


def test_what_counts_on_integers_is_refused_in_a_line():
    if not hasattr(mujoco.MjModel.from_xml_string(DELAYED.format(delay="")), "nhistory"):
        pytest.skip("this MuJoCo has no delays")
    env = gymnasium.make("Hopper-v5").unwrapped
    env.model = mujoco.MjModel.from_xml_string(DELAYED.format(delay='delay=".1" nsample="9"'))
    env.data = mujoco.MjData(env.model)
    with pytest.raises(SnapshotUnsupportedError, match="a model with delays"):
        plain_state.capture(env)


def forged(state, change):
    """Each array of MuJoCo's, one at a time, as somebody else might write it."""
    for name, array in state.items():
        if ".data." in name:
            yield name, {**state, name: change(array)}


@pytest.mark.parametrize(
    "change",
    [
        lambda array: np.zeros((*array.shape, 2), array.dtype),
        lambda array: array[:-1],
        lambda array: array.astype(np.int64),
        lambda array: array.astype(np.float32),
        lambda array: np.zeros(0),
    ],
)
def test_snapshots_that_do_not_fit_are_refused(change):
    env = gymnasium.make("Hopper-v5")
    env.reset(seed=3)
    state = plain_state.capture(env)
    for name, wrong in forged(state, change):
        if wrong[name].shape == state[name].shape and wrong[name].dtype == state[name].dtype:
            continue
        with pytest.raises(StateRefusedError):
            plain_state.restore(env, wrong)


@pytest.mark.parametrize("name", ["map_dof2idof", "M_rowadr", "xpos2", "model", "nq", "__class__", "efc_J"])
def test_only_what_is_kept_can_be_set(name):
    env = gymnasium.make("Hopper-v5")
    env.reset(seed=3)
    state = plain_state.capture(env)
    text = bytes(state["tree"]).decode()
    assert '["xpos", ' in text
    other = text.replace('["xpos", ', f'["{name}", ')
    with pytest.raises(StateRefusedError):
        plain_state.restore(env, {**state, "tree": np.frombuffer(other.encode(), np.uint8)})


def test_values_that_are_no_numbers_end_in_no_crash():
    """MuJoCo itself begins anew from what it finds unstable; all that matters is that nothing else happens."""
    env = gymnasium.make("Ant-v5")
    env.reset(seed=3)
    state = plain_state.capture(env)
    for value in (np.nan, np.inf, 1e308):
        for _, wrong in forged(state, lambda array, value=value: np.full_like(array, value)):
            try:
                plain_state.restore(env, wrong)
                env.step(env.action_space.sample())
            except (HydrahiveError, mujoco.FatalError, ValueError):
                continue


def test_a_name_that_needs_another_import_says_so():
    with pytest.raises(ConfigError, match="a registered environment"):
        Gym("dm_control/cheetah-run-v9")


def test_where_packages_lie_is_no_part_of_the_state(monkeypatch):
    """An environment remembers its model's file; on another machine that lies elsewhere, and its state is the same."""
    from hydrahive.envs.plain import names

    here = Gym("Hopper-v5").make_vector(1)
    state = here.snapshot()
    tree = bytes(state["envs/tree"]).decode()
    assert '["gymnasium", "envs/mujoco/assets/hopper.xml"]' in tree
    assert "site-packages" not in tree
    monkeypatch.setattr(names, "_places", lambda packages: dict.fromkeys(sorted(packages), "/elsewhere/"))
    there = Gym("Hopper-v5").make_vector(1)
    there.restore(state)
    assert there._envs[0].unwrapped.fullpath == "/elsewhere/envs/mujoco/assets/hopper.xml"
    assert bytes(there.snapshot()["envs/tree"]).decode() == tree


@pytest.mark.parametrize("path", [["os", "x"], ["gymnasium", 7], ["gymnasium"], "gymnasium", None])
def test_paths_of_no_package_of_the_environments_are_refused(path):
    env = gymnasium.make("Hopper-v5")
    state = plain_state.capture(env)
    text = (
        bytes(state["tree"])
        .decode()
        .replace('{"path": ["gymnasium", "envs/mujoco/assets/hopper.xml"]}', json.dumps({"path": path}))
    )
    assert json.dumps({"path": path}) in text
    with pytest.raises(StateRefusedError):
        plain_state.restore(env, {**state, "tree": np.frombuffer(text.encode(), np.uint8)})
