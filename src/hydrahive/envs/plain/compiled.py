"""MuJoCo's compiled models and what is simulated with them: no attribute shows these, so they are kept as arrays.

Of `MjData` there is kept what MuJoCo itself calls the state that a simulation goes on from (`mjSTATE_INTEGRATION`), and
every array of floats beside it: environments read positions and forces before they step, as the last step left them.
Contacts and constraints are found anew, of the state as it is. Of `MjModel`
there is kept what an environment has changed since it was made.

Only floats are ever set. Integers of these structures are places in memory to MuJoCo, and a snapshot may come from
anybody: an environment that changes them is refused, as is what counts on them (plugins, delays, bodies that sleep).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from hydrahive.core.errors import SnapshotUnsupportedError, StateRefusedError

FLAGS = ("flg_energypos", "flg_energyvel", "flg_rnepost", "flg_subtreevel")
"""Of `MjData`: whether something was computed already for the state as it is."""

OPTION = "opt."
"""What the names of a model's options begin with."""

STATE = "state"
"""What MuJoCo's own state is called among an `MjData`'s arrays."""


def kind_of(value: Any) -> str | None:
    """Whether a value is an `MjModel` or an `MjData`, without importing MuJoCo; None if it is neither."""
    kind = type(value)
    module = getattr(kind, "__module__", None)  # some compiled types have none
    return kind.__name__ if module == "mujoco._structs" and kind.__name__ in ("MjModel", "MjData") else None


def is_window(array: np.ndarray) -> bool:
    """Whether an array shows memory that is not Python's, as MuJoCo's arrays do."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return type(base).__name__ == "PyCapsule"


class Compiled:
    """The models and the data that an environment held when it was made."""

    def __init__(self, values: Iterable[Any]) -> None:
        """Look for them among these values, and remember how the models are."""
        self._data: dict[int, Any] = {}
        self._models: dict[int, _Model] = {}
        for value in values:
            if kind_of(value) == "MjData":
                self._data[id(value)] = value
                self._models.setdefault(id(value.model), _Model(value.model))
            elif kind_of(value) == "MjModel":
                self._models.setdefault(id(value), _Model(value))

    def taken(self, value: Any, path: str) -> dict[str, np.ndarray]:
        """What is to be kept of a model or of data, by name.

        Raises:
            SnapshotUnsupportedError: If the environment did not hold it when it was made, or it counts on integers.
        """
        if id(value) in self._data:
            return self._models[id(value.model)].data_of(value, path)
        if id(value) in self._models:
            return self._models[id(value)].changed(path)
        raise SnapshotUnsupportedError(f"its attribute {path!r} holds an {kind_of(value)}, which it did not when made")

    def put(self, value: Any, arrays: dict[str, np.ndarray]) -> None:
        """Put back what was kept.

        Raises:
            StateRefusedError: If it does not fit.
        """
        if id(value) in self._data:
            self._models[id(value.model)].put_data(value, arrays)
        elif id(value) in self._models:
            self._models[id(value)].put(arrays)
        else:
            raise StateRefusedError(f"state of MuJoCo where a {type(value).__name__} is")


class _Model:
    """A model as it was when its environment was made."""

    def __init__(self, model: Any) -> None:
        import mujoco

        self._model = model
        options = [f"{OPTION}{name}" for name in dir(model.opt) if not name.startswith("_")]
        looked_at = {name: _value(model, name) for name in [*_names(model), *options]}
        self._before = {name: value.copy() for name, value in looked_at.items() if value is not None}
        fresh = mujoco.MjData(model)
        # What is of no fixed size lies in an arena, which is empty at first.
        self._names = [name for name in _names(fresh) if _is_of_floats(getattr(fresh, name))]
        self._flags = [name for name in FLAGS if isinstance(getattr(fresh, name, None), bool)]
        self._state = int(mujoco.mjtState.mjSTATE_INTEGRATION)
        self._size = mujoco.mj_stateSize(model, self._state)
        counts = {"plugins": "nplugin", "delays": "nhistory"}
        self._lacking = next((what for what, name in counts.items() if getattr(model, name, 0)), None)
        sleep = getattr(mujoco.mjtEnableBit, "mjENBL_SLEEP", None)
        if sleep is not None and model.opt.enableflags & int(sleep):
            self._lacking = "bodies that sleep"

    def data_of(self, data: Any, path: str) -> dict[str, np.ndarray]:
        """State, floats and flags of data that are simulated with this model."""
        import mujoco

        if self._lacking:
            raise SnapshotUnsupportedError(f"its attribute {path!r} is of a model with {self._lacking}")
        state = np.empty(self._size)
        mujoco.mj_getState(self._model, data, state, self._state)
        flags = np.array([getattr(data, name) for name in self._flags], np.bool_)
        return {STATE: state, "flags": flags} | {name: getattr(data, name).copy() for name in self._names}

    def put_data(self, data: Any, arrays: dict[str, np.ndarray]) -> None:
        """The other way."""
        import mujoco

        expected = {name: getattr(data, name) for name in self._names}
        expected |= {STATE: np.empty(self._size), "flags": np.empty(len(self._flags), np.bool_)}
        _refuse_unlike(expected, arrays)
        mujoco.mj_resetData(self._model, data)
        mujoco.mj_setState(self._model, data, arrays[STATE], self._state)
        mujoco.mj_step1(self._model, data)  # who steps by halves goes on with its contacts and constraints
        mujoco.mj_setState(self._model, data, arrays[STATE], self._state)
        for name in self._names:
            getattr(data, name)[...] = arrays[name]
        for name, flag in zip(self._flags, arrays["flags"], strict=True):
            setattr(data, name, bool(flag))

    def changed(self, path: str) -> dict[str, np.ndarray]:
        """The floats that are others than they were."""
        changed = {}
        for name, before in self._before.items():
            value = _value(self._model, name)
            if not np.array_equal(value, before, equal_nan=before.dtype.kind == "f"):
                if value.dtype.kind != "f":
                    raise SnapshotUnsupportedError(f"its attribute '{path}.{name}' was changed, which are not floats")
                changed[name] = value.copy()
        return changed

    def put(self, arrays: dict[str, np.ndarray]) -> None:
        """The model as it was, but for these."""
        _refuse_unlike({name: value for name, value in self._before.items() if name in arrays}, arrays)
        for name, before in self._before.items():
            wanted = arrays.get(name, before)
            if before.dtype.kind == "f" and not np.array_equal(_value(self._model, name), wanted, equal_nan=True):
                _put(self._model, name, wanted)


def _refuse_unlike(expected: dict[str, np.ndarray], given: dict[str, np.ndarray]) -> None:
    """Refuse arrays of other names, shapes or types; and integers."""
    for name, array in given.items():
        like = expected.get(name)
        if like is None or array.shape != like.shape or array.dtype != like.dtype or array.dtype.kind not in "fb":
            raise StateRefusedError(f"state of MuJoCo whose {name!r} is {array.dtype} {list(array.shape)}")
    if missing := expected.keys() - given.keys():
        raise StateRefusedError(f"state of MuJoCo without {min(missing)!r}")


def _names(struct: Any) -> list[str]:
    """The names of all arrays of a structure."""
    public = [name for name in dir(struct) if not name.startswith("_")]
    return [name for name in public if isinstance(getattr(struct, name), np.ndarray)]


def _is_of_floats(array: np.ndarray) -> bool:
    return array.dtype == np.float64 and array.size > 0


def _value(model: Any, name: str) -> Any:
    """An array of a model's, or an option, as `opt.timestep`, as one; None for what is no number."""
    value = getattr(model.opt, name.removeprefix(OPTION)) if name.startswith(OPTION) else getattr(model, name)
    return np.asarray(value) if isinstance(value, bool | int | float | np.ndarray) else None


def _put(model: Any, name: str, wanted: np.ndarray) -> None:
    owner, name = (model.opt, name.removeprefix(OPTION)) if name.startswith(OPTION) else (model, name)
    if isinstance(here := getattr(owner, name), np.ndarray):
        here[...] = wanted
    else:
        setattr(owner, name, float(wanted))
