from collections import OrderedDict, defaultdict, deque
from enum import Enum

import gymnasium
import numpy as np
import pytest

from hydrahive.core.errors import SnapshotUnsupportedError
from hydrahive.envs import plain_state


class Phase(Enum):
    DAY = 1
    NIGHT = 2


class World(gymnasium.Env):
    def __init__(self):
        self.agents = ["a", "b", "c"]
        self.order = {"left": self.agents, 3: "three", "3": "text", (1, Phase.DAY): "day"}
        self.myself = self
        self.phase = Phase.DAY
        self.counts = defaultdict(int, x=1)
        self.ordered = OrderedDict(z=1, a=2)
        self.recent = deque([self.agents], maxlen=2)
        self.board = np.zeros(3)
        self.view = self.board
        self.random = np.random.default_rng(0)
        self.shared_random = [self.random]
        self.nothing = (None, np.float32(2.5), self.agents)


def test_what_stands_in_two_places_is_one_object_again():
    world, other = World(), World()
    world.agents.remove("b")
    world.phase = Phase.NIGHT
    world.counts["y"] += 3
    world.ordered.move_to_end("z")
    world.board[1] = 7
    world.random.random(5)
    del world.order["3"]
    plain_state.restore(other, plain_state.capture(world))
    assert other.myself is other
    assert other.agents == ["a", "c"]
    assert other.order["left"] is other.recent[0] is other.nothing[2] is other.agents
    assert other.order == {"left": ["a", "c"], 3: "three", (1, Phase.DAY): "day"}
    assert other.phase is Phase.NIGHT
    assert other.counts["unheard of"] == 0
    assert other.counts["y"] == 3
    assert list(other.ordered) == ["a", "z"]
    assert other.recent.maxlen == 2
    assert other.view is other.board
    assert other.board.tolist() == [0, 7, 0]
    assert other.shared_random[0] is other.random
    assert other.random.random() == world.random.random()
    one, two = plain_state.capture(world), plain_state.capture(other)
    assert {name: array.tobytes() for name, array in one.items() if name != "tree"}.keys() == two.keys() - {"tree"}


def test_captured_states_of_one_and_its_restored_copy_are_the_same_bytes():
    world, other = World(), World()
    plain_state.restore(other, plain_state.capture(world))
    one, two = plain_state.capture(world), plain_state.capture(other)
    assert {name: array.tobytes() for name, array in one.items()} == {n: array.tobytes() for n, array in two.items()}


def test_names_that_read_alike_keep_their_own_arrays():
    world, other = World(), World()
    world.order = {"x.y": np.array([1]), "x": {"y": np.array([2])}, 1: np.array([3]), "1": np.array([4])}
    plain_state.restore(other, plain_state.capture(world))
    assert [other.order["x.y"][0], other.order["x"]["y"][0], other.order[1][0], other.order["1"][0]] == [1, 2, 3, 4]


def test_keys_that_are_objects_are_refused_by_name():
    world = World()
    world.order = {object(): 1}
    with pytest.raises(SnapshotUnsupportedError, match=r"'env.order' has keys that are a object"):
        plain_state.capture(world)
