"""Taking the state out of Python environments that know nothing of snapshots, and putting it back.

An environment's state is what its attributes hold: arrays, numbers, text, random generators, containers of them, and
objects whose attributes are all there is to them; what stands in two places is one object again after a restore, and
arrays that share memory do so again. Functions, classes, and methods are kept by name, of functions without one what
they close over, and of spaces what they draw with. Specs and the like are constants. Anything else might hide state, so
it is refused by name rather than silently lost.

A snapshot is data, whoever wrote it: restoring one imports nothing and calls nothing of what it names
(`hydrahive.envs.plain.names`), reads no memory but the snapshot's own, and refuses in one line what no capture writes.
"""

from __future__ import annotations

from typing import Any

from hydrahive.core.errors import StateRefusedError, first_line
from hydrahive.core.state import State, as_json_array, from_json_array
from hydrahive.envs.plain.names import Names
from hydrahive.envs.plain.reading import Decoder
from hydrahive.envs.plain.writing import Encoder


def capture(env: Any, names: Names | None = None) -> State:
    """The state of an environment and of all it wraps: arrays by path, everything else as one JSON text.

    Args:
        env: The environment, or a list of some.
        names: What a restore will find; by default what `env` holds now.

    Raises:
        SnapshotUnsupportedError: If an attribute holds something that is neither plain data nor a known constant, or
            that a restore would not find.
    """
    encoder = Encoder(names or Names.of(env))
    tree = encoder.encoded(env, "env")
    return {**encoder.arrays, "tree": as_json_array(tree)}


def restore(env: Any, state: State, names: Names | None = None) -> None:
    """Set every attribute that `capture` recorded; `env` must have been made in the same way.

    Args:
        env: The environment, or a list of some.
        state: What `capture` gave.
        names: What the state may name; by default what `env` holds now.

    Raises:
        StateRefusedError: If it is no such state, or names something that this environment does not know.
    """
    try:
        Decoder(state, names or Names.of(env)).decoded(from_json_array(state["tree"]), env)
    except StateRefusedError:
        raise
    except RecursionError:
        raise StateRefusedError("state that is nested too deeply") from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, MemoryError) as error:
        raise StateRefusedError(f"state that cannot be read ({type(error).__name__}: {first_line(error)})") from None
