from collections import Counter, OrderedDict, defaultdict, deque
from enum import Enum, Flag

import gymnasium
import numpy as np
import pytest

from hydrahive.core.errors import SnapshotUnsupportedError
from hydrahive.envs.plain import state as plain_state


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


class Thing:
    def __init__(self, name):
        self.name, self.friend, self.place = name, None, np.zeros(2)

    def moved(self):
        self.place += 1


class Slotted:
    __slots__ = ("__dict__", "hidden")


class Scene(gymnasium.Env):
    def __init__(self):
        self.things = [Thing("a"), Thing("b")]
        self.things[0].friend, self.things[1].friend = self.things[1], self.things[0]
        self.move_first = self.things[0].moved


def test_objects_of_attributes_are_looked_into_and_made_again_where_there_are_none():
    scene, other = Scene(), Scene()
    scene.things[0].place[:] = 5
    scene.things.append(Thing("c"))
    scene.things[2].friend = scene.things[0]
    other.things[1].left_over = True
    known = other.things[0]
    plain_state.restore(other, plain_state.capture(scene))
    assert [thing.name for thing in other.things] == ["a", "b", "c"]
    assert other.things[2].friend is other.things[0] is other.things[1].friend is known
    assert not hasattr(other.things[1], "left_over")
    other.move_first()
    assert other.things[0].place.tolist() == [6, 6]
    assert scene.things[0].place.tolist() == [5, 5]


def test_one_object_that_stood_twice_becomes_two_where_the_state_has_two():
    scene, other = Scene(), Scene()
    scene.things[1].name = "z"
    other.things[1] = other.things[0]
    plain_state.restore(other, plain_state.capture(scene))
    assert [thing.name for thing in other.things] == ["a", "z"]


@pytest.mark.parametrize("hiding", [Slotted(), {1, 2}, object(), iter([1])])
def test_objects_that_are_more_than_their_attributes_are_refused(hiding):
    scene = Scene()
    scene.hiding = hiding
    with pytest.raises(SnapshotUnsupportedError, match=r"'env.hiding' holds a"):
        plain_state.capture(scene)


class Switch(Flag):
    LEFT = 1
    RIGHT = 2


class Walker(gymnasium.Env):
    def __init__(self):
        self.board = np.zeros((2, 3))
        self.me = self.board[0]
        self.corner = self.board.T[2, 1:]
        self.rows = [np.arange(6).reshape(2, 3)[1], np.zeros((0, 2))[:0]]
        self.random = np.random.default_rng(0)
        self.draw = self.random.random
        self.move = self.walk
        self.law = np.mean
        self.laws = [np.mean, np.median]
        self.kind = Phase
        self.pressed = Switch.LEFT
        self.seen = None

    def walk(self):
        return "walks"

    def fly(self):
        return "flies"


def test_what_an_environment_does_next_is_state_too():
    walker, other = Walker(), Walker()
    walker.move, walker.law, walker.kind = walker.fly, np.median, Switch
    walker.pressed = Switch.LEFT | Switch.RIGHT
    walker.seen = [Counter("aab"), OrderedDict(b=1, a=2)]
    walker.random.random(3)
    plain_state.restore(other, plain_state.capture(walker))
    assert other.move() == "flies"
    assert other.move.__self__ is other
    assert other.draw() == walker.draw()
    assert other.random.random() == walker.random.random()
    assert other.law is np.median
    assert other.kind is Switch
    assert other.pressed == Switch.LEFT | Switch.RIGHT
    assert other.seen == [Counter("aab"), OrderedDict(b=1, a=2)]
    assert type(other.seen[0]) is Counter


def test_arrays_that_share_memory_do_so_again():
    walker, other = Walker(), Walker()
    walker.me[:] = 5
    other.newly = "since the snapshot"
    plain_state.restore(other, plain_state.capture(walker))
    assert other.board.tolist() == [[5, 5, 5], [0, 0, 0]]
    other.me[1] = 8
    other.corner[0] = 9
    assert other.board.tolist() == [[5, 8, 5], [0, 0, 9]]
    assert other.rows[0].tolist() == [3, 4, 5]
    assert not hasattr(other, "newly")
    one, two = plain_state.capture(walker), plain_state.capture(other)
    assert one.keys() == two.keys()
