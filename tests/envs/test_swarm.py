"""The swarm: its lidar against a plain reference, its order of agents, its worlds, its faces."""

import math

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from hydrahive.core.errors import ConfigError
from hydrahive.envs.swarm import swarm_v0
from hydrahive.envs.swarm.config import WALL, Swarm, SwarmReward, SwarmStage
from hydrahive.envs.swarm.lidar import CLEARANCE, scan
from hydrahive.envs.swarm.vector import SwarmVector


def to_box(ray, dx, dy, half_x, half_y):
    """Where a ray enters a rectangle; infinity if it does not."""
    enter, leave = 0.0, math.inf
    for direction, offset, half in ((ray[0], dx, half_x), (ray[1], dy, half_y)):
        if direction == 0:
            enter, leave = (enter, leave) if abs(offset) <= half else (math.inf, 0.0)
            continue
        a, b = sorted(((offset - half) / direction, (offset + half) / direction))
        enter, leave = max(enter, a), min(leave, b)
    return enter if enter <= leave else math.inf


def seen(x, y, angle, radius, reach, width, height, obstacles, rays):
    """The lidar of all agents, ray by ray and thing by thing."""
    out = np.ones((len(x), rays))
    for i in range(len(x)):
        for k in range(rays):
            turn = angle[i] + 2 * math.pi * k / rays
            ray = np.array([math.cos(turn), math.sin(turn)])
            hits = []
            for axis, place, size in ((0, x[i], width), (1, y[i], height)):
                if ray[axis] != 0:
                    hits += [t for t in ((WALL - place) / ray[axis], (size - WALL - place) / ray[axis]) if t > 0]
            for j in range(len(x)):
                apart = np.array([x[j] - x[i], y[j] - y[i]])
                along = apart @ ray
                off = apart @ apart - along**2
                if j != i and along > 0 and off <= radius**2:
                    hits.append(along - math.sqrt(radius**2 - off))
            hits += [to_box(ray, box[0] - x[i], box[1] - y[i], box[2], box[3]) for box in obstacles]
            begin = radius + CLEARANCE
            out[i, k] = min(max((min(hits) - begin) / reach, 0.0), 1.0)
    return out


@pytest.mark.parametrize(
    ("agents", "rays", "boxes", "radius"),
    [
        (1, 32, 0, 10.0),
        (10, 32, 3, 10.0),
        (60, 32, 5, 10.0),
        (25, 7, 2, 10.0),
        (8, 360, 1, 10.0),
        (40, 1, 0, 10.0),
        (40, 2, 1, 3.0),
        (30, 3, 0, 40.0),
        (60, 64, 0, 1.0),
    ],
)
def test_lidar_is_the_references(agents, rays, boxes, radius):
    random = np.random.default_rng(agents * rays)
    turns = 2 * math.pi * np.arange(rays) / rays
    directions = np.stack([np.cos(turns), np.sin(turns)])
    for _ in range(5):
        x, y = random.uniform(20, 780, agents), random.uniform(20, 580, agents)
        angle = random.uniform(-20, 20, agents)
        obstacles = np.column_stack([random.uniform(80, 500, (boxes, 2)), random.uniform(15, 45, (boxes, 2))])
        out = np.zeros((agents, rays), np.float32)
        scan(x, y, angle, agents, radius, 300.0, WALL, WALL, 800 - WALL, 600 - WALL, obstacles, directions, out)
        np.testing.assert_allclose(out, seen(x, y, angle, radius, 300.0, 800, 600, obstacles, rays), atol=1e-5)


def world_of(agents, worlds=1, **options):
    size = {} if agents <= 60 else {"width": 2400.0, "height": 1800.0}
    env = SwarmVector(worlds, Swarm(agents=agents, **size, **options))
    observations, _ = env.reset(seed=4)
    return env, observations


@pytest.mark.parametrize("agents", [1, 9, 10, 11, 100, 200])
def test_agents_have_one_order_everywhere(agents):
    """One agent drives, the others stand: the same one moves, sees it, and is told of it."""
    for driver in {0, agents // 2, agents - 1}:
        env, _ = world_of(agents, time_limit=3)
        places = env._bodies[0, :, :2].copy()
        actions = np.zeros((agents, 2))
        actions[driver] = 1.0
        observations, rewards, *_ = env.step(actions)
        moved = np.linalg.norm(env._bodies[0, :, :2] - places, axis=1)
        assert np.flatnonzero(moved > 1.0).tolist() == [driver]
        speed = np.linalg.norm(observations[:, 32:34], axis=1)
        assert np.flatnonzero(speed > 0.2).tolist() == [driver]
        distance = np.hypot(
            env._agents["goal_x"][0] - env._bodies[0, :, 0], env._agents["goal_y"][0] - env._bodies[0, :, 1]
        )
        np.testing.assert_allclose(rewards, -distance / 1000, atol=1e-6)
        env._agents["goals"][0, driver] = 7
        env.step(actions * 0)
        *_, truncated, infos = env.step(actions * 0)
        assert truncated.all()
        assert infos["final_info"]["score"].argmax() == driver


def test_a_goal_is_counted_and_drawn_anew_and_the_world_goes_on():
    env, _ = world_of(3)
    env._agents["goal_x"][0, 1], env._agents["goal_y"][0, 1] = env._bodies[0, 1, 0] + 12, env._bodies[0, 1, 1]
    goal = env._agents["goal_x"][0, 1]
    _, rewards, terminated, truncated, infos = env.step(np.zeros((3, 2)))
    assert rewards[1] > 9.9
    assert env._agents["goals"][0].tolist() == [0, 1, 0]
    assert env._agents["goal_x"][0, 1] != goal
    assert not (terminated | truncated).any()
    assert not infos


def test_a_world_is_cut_when_its_time_is_up_and_its_last_observations_are_kept():
    env, _ = world_of(4, worlds=2, time_limit=5)
    for _ in range(4):
        observations, _, _, truncated, infos = env.step(np.full((8, 2), 0.3))
        assert not truncated.any()
    observations, _, terminated, truncated, infos = env.step(np.full((8, 2), 0.3))
    assert truncated.all()
    assert not terminated.any()
    assert np.abs(infos["final_obs"][:, 32:34]).sum() > 0.1
    assert np.abs(observations[:, 32:34]).sum() == 0, "the new world's agents stand"


def test_a_naive_restore_differs_and_two_restores_agree():
    """Why snapshots are rebuilt: Pymunk remembers contacts, which no array holds."""
    env, _ = world_of(40)
    random = np.random.default_rng(0)
    actions = random.uniform(-1, 1, (60, 40, 2))
    for row in actions[:30]:
        env.step(row)
    state = env.snapshot()
    restored = [SwarmVector(1, env.config) for _ in range(2)]
    for other in restored:
        other.restore(state)
    for row in actions[30:]:
        env.step(row)
        for other in restored:
            other.step(row)
    first, second = (other.snapshot() for other in restored)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)
    assert not np.array_equal(first["bodies"], env.snapshot()["bodies"])


def test_messages_reach_the_nearest_neighbour_one_step_later():
    env, _ = world_of(5, channel=2, neighbours=1)
    actions = np.zeros((5, 4))
    actions[:, 2] = np.arange(5) / 10
    observations, *_ = env.step(actions)
    places = env._bodies[0, :, :2]
    for i in range(5):
        apart = np.linalg.norm(places - places[i], axis=1)
        apart[i] = np.inf
        assert observations[i, -2] == pytest.approx(apart.argmin() / 10)


def test_messages_do_not_reach_the_next_world():
    env, _ = world_of(3, channel=1, time_limit=2)
    env.step(np.full((3, 3), 0.7))
    observations, *_, infos = env.step(np.full((3, 3), 0.7))
    assert (infos["final_obs"][:, -1] > 0.6).all()
    assert (observations[:, -1] == 0).all()


@pytest.mark.parametrize(("width", "agents"), [(800.0, 20), (1600.0, 100)])
def test_nobody_drives_through_a_wall(width, agents):
    """At full speed a physics step is longer than a wall of Pymunk's segments is thick."""
    env = SwarmVector(2, Swarm(agents=agents, width=width, height=width * 0.75, time_limit=300))
    env.reset(seed=3)
    straight = np.ones((2 * agents, 2))
    for _ in range(299):
        env.step(straight)
        places = env._bodies[:, :, :2] - [[[0.0, 0.0]], [[float(env._rules["spacing"][0]), 0.0]]]
        assert (places > -60).all()
        assert (places < np.array([width, width * 0.75]) + 60).all()


def test_a_world_that_begins_anew_leaves_nothing_in_the_space():
    env, _ = world_of(3, worlds=2, obstacles=2, time_limit=1)
    shapes = len(env._space.shapes)
    for _ in range(20):
        env.step(np.zeros((6, 2)))
    assert len(env._space.shapes) == len(env._space.static_body.shapes) + 6 == shapes


def test_a_curriculum_changes_worlds_that_begin_anew():
    stages = [SwarmStage(agents=2, width=500, height=400), SwarmStage(1_000, agents=6, obstacles=3)]
    env = SwarmVector(2, Swarm(agents=6, time_limit=3, stages=stages))
    env.reset(seed=1)
    assert env.present().tolist() == [True, True, False, False, False, False] * 2
    env.advance(2_000)
    for _ in range(3):
        assert env.present().sum() == 4
        *_, truncated, _ = env.step(np.zeros((12, 2)))
    assert truncated.tolist() == [True, True, False, False, False, False] * 2
    assert env.present() is None
    assert env._worlds["obstacles"].tolist() == [3, 3]


def test_collisions_shaping_and_heading_are_what_they_say():
    reward = SwarmReward(goal=0, distance=0, shaping=2.0, shaping_discount=0.5, collision=-1.0)
    env, before = world_of(2, reward=reward, observe_heading=True)
    assert before.shape == (2, 39)
    np.testing.assert_allclose(
        before[:, 36:38], np.stack([np.cos(env._bodies[0, :, 2]), np.sin(env._bodies[0, :, 2])], 1), atol=1e-6
    )
    old = env._agents["distance"][0].copy()
    _, rewards, *_ = env.step(np.zeros((2, 2)))
    np.testing.assert_allclose(rewards, 2 * (old - 0.5 * env._agents["distance"][0]) / 1000, atol=1e-6)
    state = env.snapshot()
    state["bodies"][0, 0, :2] = (15.2, 300.0)
    env.restore(state)
    _, rewards, *_ = env.step(np.zeros((2, 2)))
    assert rewards[0] < -0.5 < rewards[1]


def test_pettingzoo_takes_it():
    parallel_api_test(swarm_v0.parallel_env(agents=4, time_limit=20), num_cycles=60)
    parallel_seed_test(lambda: swarm_v0.parallel_env(agents=3, time_limit=20), num_cycles=40)
    env = swarm_v0.parallel_env(render_mode="rgb_array", agents=12)
    env.reset(seed=0)
    assert env.agents == [f"agent_{i}" for i in range(12)]
    assert env.render().shape == (480, 640, 3)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"agents": 0}, "agents"),
        ({"agents": 201}, "agents"),
        ({"rays": 361}, "rays"),
        ({"motor_force": -1.0}, "motor_force"),
        ({"motor_force": math.nan}, "motor_force"),
        ({"motor_force": 50_000.0}, "motor_force"),
        ({"physics_hz": 5.0, "substeps": 1}, "motor_force"),
        ({"mass": 0.02}, "motor_force"),
        ({"mass": 1e-300}, "mass"),
        ({"radius": 1e-300}, "radius"),
        ({"height": 1e6}, "height"),
        ({"agents": 50, "width": 200.0}, "width"),
        ({"agents": 1, "radius": 100.0}, "radius"),
        ({"agents": 1, "width": 160.0, "height": 900.0, "obstacles": 1}, "width"),
        ({"stages": [SwarmStage(5)]}, "stages"),
        ({"stages": [SwarmStage(agents=11)]}, "stages"),
    ],
)
def test_worlds_that_cannot_be_are_refused(options, key):
    with pytest.raises(ConfigError) as refused:
        Swarm(**options)
    assert refused.value.key == key


@pytest.mark.parametrize(("width", "height", "shape"), [(140.0, 1e5, (640, 1, 3)), (1e5, 140.0, (1, 640, 3))])
def test_a_narrow_world_makes_a_narrow_picture(width, height, shape):
    env = Swarm(agents=2, width=width, height=height, radius=1.0).make_single("rgb_array")
    env.reset(seed=0)
    assert env.render().shape == shape


def test_agents_at_full_speed_stay_inside():
    """About the greatest forces that are accepted, straight at the walls, which then push back."""
    swarm = Swarm(agents=20, motor_force=5_000.0, time_limit=10_000)
    env = swarm.make_vector(20)
    env.reset(seed=1)
    for step in range(500):
        env.step(np.full((20, 2), float(step < 400), np.float32))
    bodies = env._picture(0, np.zeros((20, 0), np.float32)).bodies
    assert (bodies[:, :2] > 0).all()
    assert (bodies[:, :2] < (swarm.width, swarm.height)).all()


@pytest.mark.parametrize("actions", [np.zeros((3, 3)), np.zeros((2, 2)), np.full((3, 2), np.nan)])
def test_actions_that_cannot_be_are_refused(actions):
    env, _ = world_of(3)
    with pytest.raises(ValueError, match="action"):
        env.step(actions)
