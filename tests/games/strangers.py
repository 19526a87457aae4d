"""Strangers' environments: each does one thing that is quietly wrong elsewhere, or that looks odd and is right."""

import os
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


class Walk(gymnasium.Env):
    """Counts its steps up to six; what it shows, pays and tells is for others to say.

    Args:
        length: Of an episode.
    """

    observation_space = spaces.Box(-100, 100, (2,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self, length=6):
        self.length, self.steps = length, 0

    def seen(self):
        return np.array([self.steps, self.length], np.float32)

    def pays(self, action):
        return 1.0

    def tells(self):
        return {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.seen(), self.tells()

    def step(self, action):
        self.steps += 1
        return self.seen(), self.pays(action), self.steps >= self.length, False, self.tells()


# Types: what is given is not what is declared.


class Overflows(Walk):
    """Declares bytes; counts beyond them."""

    observation_space = spaces.Box(0, 255, (2,), np.uint8)

    def seen(self):
        return np.array([250 + 3 * self.steps, 0])


class Halves(Walk):
    """Declares whole numbers; gives halves, but only from its third step on."""

    observation_space = spaces.Box(-9, 9, (2,), np.int32)

    def seen(self):
        return np.array([self.steps / 2 if self.steps > 2 else 0, 0])


class Switches(Walk):
    """Declares numbers that are 0 or 1, as spaces of bool do; gives 2 at its end."""

    observation_space = spaces.MultiBinary(2)

    def seen(self):
        return np.array([2 if self.steps == self.length else self.steps % 2, 0], np.int8)


class Doubles(Walk):
    """Gives float64 where float32 is declared, which loses nothing that matters; and scalars of numpy as rewards."""

    def seen(self):
        return np.array([self.steps / 3, self.length])

    def pays(self, action):
        return np.float32(1.0)


class Longer(Walk):
    """Shows more numbers at its end than it declares."""

    def seen(self):
        return np.zeros(3 if self.steps == self.length else 2, np.float32)


# Hidden randomness.


class Closes(Walk):
    """Draws with a function that closes over a generator."""

    def reset(self, *, seed=None, options=None):
        given = super().reset(seed=seed)
        random = self.np_random
        self.draw = lambda: random.integers(0, 9)
        return given

    def pays(self, action):
        return float(self.draw())


class Partly(Walk):
    """Keeps a partial of a method of a generator of its own."""

    def __init__(self):
        super().__init__()
        self.draw = partial(np.random.default_rng(3).normal, 0.0)

    def pays(self, action):
        return float(self.draw())


class Spawns(Walk):
    """Has a generator's children draw, of which each episode has another."""

    def reset(self, *, seed=None, options=None):
        given = super().reset(seed=seed)
        self.child = self.np_random.spawn(1)[0]
        return given

    def pays(self, action):
        return float(self.child.random())


class Samples(Walk):
    """Draws from its own action space."""

    def __init__(self):
        super().__init__()
        self.action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.action_space.seed(seed)
        return super().reset(seed=seed)

    def pays(self, action):
        return float(action == self.action_space.sample())


class Table(OrderedDict):
    """A dict with an attribute."""

    draws = 0


class Tabled(Walk):
    """Counts in an attribute of a dict."""

    def __init__(self):
        super().__init__()
        self.table = Table(a=1)

    def pays(self, action):
        self.table.draws += 1
        return float(self.table.draws % 7)


class Slotted(Walk):
    """Keeps a number in a slot."""

    __slots__ = ("count",)

    def __init__(self):
        super().__init__()
        self.count = 0

    def pays(self, action):
        self.count += 1
        return float(self.count % 5)


class Endless(Walk):
    """Tells infinity, and numbers too large for any float, at its end."""

    def tells(self):
        return {"sharpe": np.inf, "wealth": 10**500, "fine": 1.5, "none": float("nan")}


class Pair(NamedTuple):
    """A count, and an array."""

    count: int
    sums: np.ndarray


class Told(Walk):
    """Keeps text, times and complex numbers of numpy's."""

    def __init__(self):
        super().__init__()
        self.suit, self.row, self.spin = np.str_("C"), np.array(["a", "bcd"]), np.zeros(2, complex)
        self.day, self.long = np.datetime64("2026-01-01"), np.zeros(2, np.longdouble)

    def pays(self, action):
        self.suit = np.array(["C", "D", "H"])[action]
        self.row[0], self.day = self.suit, self.day + 1
        self.spin, self.long = self.spin + 1j * action, self.long + action
        return float(self.spin.imag[0] % 5 + self.day.astype(int) % 7 + self.long[0] % 3)


class Recorded(Walk):
    """Keeps its state in a named tuple, another one each step."""

    def __init__(self):
        super().__init__()
        self.pair = Pair(0, np.zeros(2))

    def pays(self, action):
        self.pair = Pair(self.pair.count + 1, self.pair.sums + action)
        return float(self.pair.count % 4 + self.pair.sums[0])


class Entropy(Walk):
    """Draws anew from the machine's entropy whenever it is reset without a seed; has masks."""

    def reset(self, *, seed=None, options=None):
        self.luck = np.random.default_rng(seed)
        return super().reset(seed=seed)

    def pays(self, action):
        return float(self.luck.random())

    def tells(self):
        return {"action_mask": np.ones(3, np.int8)}


class Global(Walk):
    """Draws with numpy's generator for all."""

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            np.random.seed(seed % 2**32)
        return super().reset(seed=seed)

    def pays(self, action):
        return float(np.random.random())


class Hashed(Walk):
    """Pays by the order of a set of words, which another process has otherwise."""

    def pays(self, action):
        return float(next(iter({f"word {i}" for i in range(50)})).split()[1])


# Sharing.


class Fills(Walk):
    """Writes into the list that it was given.

    Args:
        seen: Where it notes how many episodes there were.
    """

    def __init__(self, seen):
        super().__init__()
        self.list = seen

    def reset(self, *, seed=None, options=None):
        self.list.append(len(self.list))
        return super().reset(seed=seed)

    def pays(self, action):
        return float(len(self.list))


class Notes(gymnasium.Wrapper):
    """Writes into what it was given, and pays by it."""

    def __init__(self, env, book):
        super().__init__(env)
        self.book = book

    def reset(self, **given):
        self.book["games"] = self.book.get("games", 0) + 1
        return super().reset(**given)

    def step(self, action):
        seen, _, *rest = super().step(action)
        return seen, float(self.book["games"]), *rest


class Common(Walk):
    """Counts all games of the process in its class."""

    games = 0

    def pays(self, action):
        Common.games += 1
        return float(Common.games % 3)


class Averages(gymnasium.Wrapper):
    """Subtracts the mean of what it has seen, which nobody keeps."""

    def __init__(self, env):
        super().__init__(env)
        from gymnasium.wrappers.utils import RunningMeanStd

        self.statistics = RunningMeanStd(shape=(2,))

    def step(self, action):
        seen, *rest = super().step(action)
        self.statistics.update(seen[None])
        return (seen - self.statistics.mean).astype(np.float32), *rest


# Masks.


class Masked(Walk):
    """Tells masks; pays 1 for the only action that is allowed, whose number is the step's.

    Args:
        form: `bools`, `late`, `long`, `additive`, `halves`, `none` (nothing is allowed), or `text`.
    """

    def __init__(self, form="bools"):
        super().__init__()
        self.form = form

    def tells(self):
        row = np.arange(3) == self.steps % 3
        forms = {
            "bools": row,
            "long": np.append(row, True),
            "additive": np.where(row, 0.0, -np.inf),
            "halves": row / 2,
            "none": np.zeros(3, np.int8),
            "text": "all",
        }
        if self.form == "late":
            return {"action_mask": row} if self.steps > 2 else {}
        return {"action_mask": forms[self.form]}

    def pays(self, action):
        return float(action == (self.steps - 1) % 3)


# Sizes.


class Thousands(Walk):
    """Shows one of 5,000 things; pays for an action that goes by it."""

    observation_space = spaces.Discrete(5_000)
    thing = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.thing = 0, int(self.np_random.integers(5_000))
        return self.seen(), {}

    def seen(self):
        return self.thing


class Billions(Walk):
    """Shows one of a billion things, beside a number."""

    observation_space = spaces.Dict({"what": spaces.Discrete(10**9), "n": spaces.Box(0, 9, (1,), np.float32)})

    def seen(self):
        return {"what": 5, "n": np.zeros(1, np.float32)}


class Huge(Walk):
    """Shows numbers that are very large, now and then."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def seen(self):
        return np.array([1e30 if self.steps == 3 else 0.0, 1.0], np.float32)


class Offset(Walk):
    """Shows small changes of a large float64."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def seen(self):
        return np.array([1e9 + self.steps, 1.0])


class TooLarge(Offset):
    """Shows a float64 that float32 does not hold."""

    def seen(self):
        return np.array([1e300, 1.0])


# Contracts.


class OldStep(Walk):
    """Steps as Gym did before it was Gymnasium."""

    def step(self, action):
        seen, reward, ended, _, told = super().step(action)
        return seen, reward, ended, told


class OldReset(Walk):
    """Is reset as Gym was before it was Gymnasium."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class Nothing(Walk):
    """Shows nothing at its end."""

    def seen(self):
        return None if self.steps == self.length else super().seen()


class Lists(Walk):
    """Pays in lists of one."""

    def pays(self, action):
        return [1.0]


class Words(Walk):
    """Says in words whether it is over."""

    def step(self, action):
        seen, reward, _, _, told = super().step(action)
        return seen, reward, "no", False, told


class Raises(Walk):
    """Cannot be reset more than once."""

    def reset(self, *, seed=None, options=None):
        if self.steps:
            raise ValueError("the door is locked")
        return super().reset(seed=seed)


# What they do to their process.


class Talks(Walk):
    """Prints, through Python and past it."""

    def reset(self, *, seed=None, options=None):
        print("a new game")
        os.write(1, b"from below\n")
        return super().reset(seed=seed)


class Swallows(Walk):
    """Lets no exception out of its steps."""

    def step(self, action):
        with suppress(BaseException):
            time.sleep(0.002)
        return super().step(action)


class Sleeps(Walk):
    """Takes its time for each step, and to be made."""

    def __init__(self, step=0.05, make=0.0):
        super().__init__()
        time.sleep(make)
        self.seconds = step

    def step(self, action):
        time.sleep(self.seconds)
        return super().step(action)


class Stands(Walk):
    """Never comes back from its fourth step."""

    def step(self, action):
        while self.steps == 3:
            time.sleep(0.1)
        return super().step(action)


class Starts(Walk):
    """Starts a process, which it ends when it is closed; or does not.

    Args:
        ends: Whether it does.
        thread: Whether it is a thread instead.
    """

    def __init__(self, ends=True, thread=False):
        super().__init__()
        self.ends = ends
        gone = threading.Event()
        holder.setdefault(id(self), None)
        if thread:
            holder[id(self)] = gone.set
            threading.Thread(target=gone.wait, name="a game's", daemon=True).start()
        else:
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            holder[id(self)] = lambda: (child.kill(), child.wait())

    def close(self):
        if self.ends:
            holder.pop(id(self), lambda: None)()


holder = {}


class Far(Walk):
    """Ends after more steps than lie between two boundaries."""

    def __init__(self):
        super().__init__(length=10_000)


# Spaces.


class Shelf(Walk):
    """Takes a Dict of a choice, switches and a lever without bounds; shows a Tuple with a picture in it."""

    observation_space = spaces.Tuple(
        (spaces.Box(0, 255, (3, 12, 12), np.uint8), spaces.Discrete(4), spaces.Box(-1, 1, (2, 2), np.float64))
    )
    action_space = spaces.Dict(
        {
            "choice": spaces.Discrete(3, start=2),
            "switches": spaces.MultiBinary(2),
            "lever": spaces.Box(-np.inf, np.inf, (2, 1), np.float32),
        }
    )

    def seen(self):
        return np.full((3, 12, 12), self.steps, np.uint8), self.steps % 4, np.zeros((2, 2))

    def pays(self, action):
        assert self.action_space.contains(action), action
        return float(action["choice"] == 2) - 0.01 * float(np.square(action["lever"]).sum())


class Letters(Walk):
    """Shows text."""

    observation_space = spaces.Text(5)

    def seen(self):
        return "abc"


# Vectors.


class Rows(VectorEnv):
    """Several walks of Dict observations in one, whose episodes begin anew as `mode` has it.

    Args:
        mode: Gymnasium's.
        batched: Whether last observations are one batched Dict, or a row of Dicts.
        key: Of last observations in infos.
    """

    def __init__(self, num_envs=1, mode="SAME_STEP", batched=True, key="final_obs"):
        self.num_envs, self.batched, self.key = num_envs, batched, key
        self.mode = AutoresetMode[mode]
        self.metadata = {"autoreset_mode": self.mode}
        self.single_observation_space = spaces.Dict(
            {"a": spaces.Box(-100, 100, (2,), np.float32), "b": spaces.Discrete(3)}
        )
        self.single_action_space = spaces.Discrete(3)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.steps, self.over = np.zeros(num_envs, np.int64), np.zeros(num_envs, bool)

    def seen(self):
        return {"a": np.stack([self.steps, self.steps * 2], 1).astype(np.float32), "b": self.steps % 3}

    def reset(self, *, seed=None, options=None):
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        first = seed if isinstance(seed, int) else 0
        self.steps = np.where(mask, (np.arange(self.num_envs) + first) % 3, self.steps)
        self.over = self.over & ~mask
        return self.seen(), {}

    def step(self, actions):
        begins = self.over if self.mode == AutoresetMode.NEXT_STEP else np.zeros_like(self.over)
        assert self.mode != AutoresetMode.DISABLED or not self.over.any(), "stepped behind its end"
        self.steps = np.where(begins, 0, self.steps + 1)
        over = ~begins & (self.steps >= 5)
        rewards, infos = np.where(begins, 0.0, 1.0), {}
        if over.any() and self.mode == AutoresetMode.SAME_STEP:
            last = self.seen()
            rows = np.full(self.num_envs, None, object)
            for i in np.flatnonzero(over):
                rows[i] = {name: part[i] for name, part in last.items()}
            infos = {self.key: last if self.batched else rows, f"_{self.key}": over}
            infos["final_info"] = {"steps": self.steps.astype(float), "_steps": over}
            self.steps = np.where(over, 0, self.steps)
        elif over.any():
            infos = {"steps": self.steps.astype(float), "_steps": over}
        self.over = over
        return self.seen(), rewards, over, np.zeros_like(over), infos


for kind in [*Walk.__subclasses__(), TooLarge]:
    gymnasium.register(f"{kind.__name__}-v0", entry_point=kind)
gymnasium.register("Walk-v0", entry_point=Walk)
gymnasium.register("Rows-v0", entry_point=Walk, vector_entry_point=Rows)
