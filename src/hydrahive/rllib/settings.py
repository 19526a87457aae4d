"""RLlib's AlgorithmConfig from plain keys, each checked by the types that RLlib itself declares."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import json
import logging
import typing
from functools import cache
from typing import Any, NamedTuple

from hydrahive.core.errors import ConfigError, first_line, not_installed

WHERE = "config"

METHODS = (
    "environment", "env_runners", "learners", "training", "evaluation", "multi_agent", "reporting", "debugging",
    "fault_tolerance", "rl_module", "experimental", "checkpointing", "resources", "framework", "api_stack",
)  # fmt: skip
"""Of RLlib's AlgorithmConfig, whose keyword arguments are its keys."""

ONLINE = ("PPO", "IMPALA", "APPO", "DQN", "SAC", "TQC")
"""What is trained here, and can be evaluated, played and served."""

OTHERS: dict[str, str] = {
    "BC": "it learns from recorded data, which runs here do not have",
    "CQL": "it learns from recorded data, which runs here do not have",
    "IQL": "it learns from recorded data, which runs here do not have",
    "MARWIL": "it learns from recorded data, which runs here do not have",
    "DreamerV3": "it acts by env runners of its own, through which nobody else can look at its policy",
}
"""RLlib's other algorithms, and why not."""

OUR_OWN: dict[str, str] = {
    "env": "it is `env` of the run",
    "env_config": "it is `env` of the run",
    "num_env_runners": "it is `workers` of the run",
    "seed": "it is `seed` of the run",
    "env_runner_cls": "env runners are those that count steps for the run",
    "gym_env_vectorize_mode": "environments come as vectors of their own",
    "observation_space": "`env` says it",
    "action_space": "`env` says it",
    "callbacks_class": "use callbacks of the run (docs/python.md)",
    "rl_module_spec": "use model_config; modules that know masks are chosen where they are needed",
    "policies": "all agents of a world share one module, as they share one policy elsewhere here",
    "policy_mapping_fn": "all agents of a world share one module, as they share one policy elsewhere here",
    "policies_to_train": "all agents of a world share one module, as they share one policy elsewhere here",
    "module_to_env_connector": "actions go to the environment as RLlib's defaults send them",
    "learner_class": "name the algorithm",
    "learner_connector": "only RLlib's defaults are used",
    "framework": "it is torch",
}
"""Keys of RLlib's that the run says itself."""

OLD_STACK: dict[str, str] = {
    "num_workers": "workers of the run",
    "num_rollout_workers": "workers of the run",
    "num_envs_per_worker": "num_envs_per_env_runner",
    "num_sgd_iter": "num_epochs",
    "sgd_minibatch_size": "minibatch_size",
    "train_batch_size": "train_batch_size_per_learner",
    "model": "model_config",
    "model_config_dict": "model_config",
    "num_gpus": "num_gpus_per_learner",
    "lr_schedule": "lr: [[0, 3.0e-4], [1000000, 0.0]]",
    "entropy_coeff_schedule": "entropy_coeff: [[0, 0.01], [1000000, 0.0]]",
    "observation_filter": "env_to_module_connector: [MeanStdFilter]",
    "exploration_config": "epsilon, of DQN",
    "lambda": "lambda_",
}
"""Keys of RLlib's old API stack, or of plain dicts, and what the new one says."""

OURS: dict[str, str] = {
    "learning_rate": "lr",
    "discount": "gamma",
    "gae_lambda": "lambda_",
    "entropy_cost": "entropy_coeff",
    "value_cost": "vf_loss_coeff",
    "gradient_norm": "grad_clip",
    "epochs": "num_epochs",
    "clip": "clip_param",
}
"""What others, and we, call some of RLlib's keys."""

OLD_STACK_SWITCHES = ("enable_rl_module_and_learner", "enable_env_runner_and_connector_v2", "_enable_rl_module_api")

OFF_POLICY = ("DQN", "SAC", "TQC")
"""Whose `train_batch_size` is none of the old stack's: theirs has no other name."""

CONNECTORS = ("MeanStdFilter", "FlattenObservations")
"""What `env_to_module_connector` may name: pieces that need nothing but the observation they are given."""


class Key(NamedTuple):
    """One of RLlib's keys.

    Attributes:
        method: Of its AlgorithmConfig, that takes it.
        type: As declared there.
    """

    method: str
    type: Any


@cache
def algorithm_class(name: str) -> Any:
    """RLlib's class of an algorithm.

    Raises:
        ConfigError: If it has none of that name, or it is not for runs here.
        UsageError: If RLlib is not installed.
    """
    if name in OTHERS:
        raise ConfigError("name", name, f"{', '.join(ONLINE)}; {OTHERS[name]}")
    if name not in ONLINE:
        near = difflib.get_close_matches(name.upper(), ONLINE, n=2, cutoff=0.4)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise ConfigError("name", name, f"one of RLlib's algorithms: {', '.join(ONLINE)}{hint}")
    try:
        module = importlib.import_module(f"ray.rllib.algorithms.{name.lower()}")
    except ImportError as error:
        raise not_installed("algorithm: Rllib", error) from None
    for logger in ("ray", "ray.rllib", "ray._common.deprecation"):  # which tell everybody of their own ways
        logging.getLogger(logger).setLevel(logging.ERROR)
    return getattr(module, name)


@cache
def keys_of(name: str) -> dict[str, Key]:
    """RLlib's keys for an algorithm, each with its type; deprecated ones are left out."""
    config = type(algorithm_class(name).get_default_config())
    found: dict[str, Key] = {}
    for method in METHODS:
        for owner in reversed(config.__mro__):
            if method in owner.__dict__:
                found |= _keys_in(owner.__dict__[method], method)
    return found


def _keys_in(function: Any, method: str) -> dict[str, Key]:
    """The keyword arguments of one of its methods that have a type: those without are deprecated."""
    named = inspect.signature(function).parameters.values()
    kept = [one for one in named if one.name != "self" and one.annotation is not inspect.Parameter.empty]
    return {one.name: Key(method, one.annotation) for one in kept if one.kind is one.KEYWORD_ONLY}


def refuse_unknown(name: str, config: Any) -> None:
    """Refuse keys that an algorithm does not have, that the run says itself, and values of another type.

    Raises:
        ConfigError: In one line, with the nearest names.
    """
    known = keys_of(name)
    if not isinstance(config, dict):
        raise ConfigError(WHERE, config, "a mapping of RLlib's keys")
    for key, value in config.items():
        if key in OLD_STACK_SWITCHES:
            raise ConfigError(f"{WHERE}.{key}", value, "RLlib's new API stack; the old one is not run here")
        if key in OUR_OWN:
            raise ConfigError(f"{WHERE}.{key}", value, f"no such key here: {OUR_OWN[key]}")
        is_batch = key == "train_batch_size" and name in OFF_POLICY
        if key in OLD_STACK and not is_batch:
            raise ConfigError(f"{WHERE}.{key}", value, f"the key of RLlib's new API stack, {OLD_STACK[key]}")
        if key not in known:
            near = [OURS[key]] if key in OURS else []
            near += difflib.get_close_matches(str(key), [one for one in known if one not in OUR_OWN], n=3, cutoff=0.6)
            hint = f"; nearest: {', '.join(near)}" if near else ""
            raise ConfigError(f"{WHERE}.{key}", value, f"a key of RLlib's {name}{hint}")
        fitted(key, value, known[key].type)
    if "env_to_module_connector" in config:
        named = config["env_to_module_connector"]
        fits = isinstance(named, list) and all(one in CONNECTORS for one in named)
        if not fits:
            raise ConfigError(f"{WHERE}.env_to_module_connector", named, f"a list of {' or '.join(CONNECTORS)}")


def fitted(key: str, value: Any, kind: Any) -> Any:
    """A value as RLlib declares it: lists may stand for tuples; functions and classes cannot be written here.

    Raises:
        ConfigError: If it is of another type.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    if key == "env_to_module_connector" or _is_schedule(value):
        return value
    try:
        adapter = TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True, strict=True))
    except Exception:  # a type that pydantic does not know: RLlib looks at it itself
        return value
    for given in (value, _tuples(value)):
        try:
            adapter.validate_python(given)
        except ValidationError as error:
            wrong = error
        else:
            return given
    told = next(iter(wrong.errors()))["msg"].removeprefix("Input should be ")
    raise ConfigError(f"{WHERE}.{key}", value, _in_words(kind) or told)


def _is_schedule(value: Any) -> bool:
    """Whether it is a line of points [env steps, value], which RLlib takes for more keys than it declares."""
    pairs = isinstance(value, list) and all(isinstance(one, list) and len(one) == 2 for one in value)
    return pairs and bool(value) and all(isinstance(part, int | float) for one in value for part in one)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _in_words(kind: Any) -> str:
    """A type as people say it."""
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", dict: "a mapping"}
    names |= {list: "a list", type(None): "null", tuple: "a list"}
    parts = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, *_UNIONS) else (kind,)
    known = [names.get(typing.get_origin(part) or part, "") for part in parts]
    return " or ".join(dict.fromkeys(word for word in known if word))


_UNIONS = (type(int | str),)


def settings(name: str, config: dict[str, Any]) -> Any:
    """RLlib's AlgorithmConfig with these keys, on its new API stack.

    Raises:
        ConfigError: If RLlib refuses a value.
    """
    built = algorithm_class(name).get_default_config()
    known = keys_of(name)
    for key, value in config.items():
        given = _connected(value) if key == "env_to_module_connector" else fitted(key, value, known[key].type)
        if key == "model_config":
            _refuse_unknown_model(value)
        try:
            getattr(built, known[key].method)(**{key: given})
        except Exception as error:  # RLlib raises what it likes
            raise ConfigError(f"{WHERE}.{key}", value, f"what RLlib takes: {first_line(error)}") from None
    return built


def _models() -> dict[str, Any]:
    """RLlib's default model, key by key."""
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    return dataclasses.asdict(DefaultModelConfig())


def _refuse_unknown_model(given: dict[str, Any]) -> None:
    """Refuse keys that RLlib's default model does not have; ConfigError with the nearest."""
    names = _models()
    for key in given:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=3, cutoff=0.5)
            hint = f"; nearest: {', '.join(near)}" if near else ""
            raise ConfigError(f"{WHERE}.model_config.{key}", given[key], f"a key of RLlib's DefaultModelConfig{hint}")


def _connected(names: list[str]) -> Any:
    """What makes the connectors of these names, as RLlib calls it in each env runner."""

    def make(env: Any = None, spaces: Any = None, device: Any = None) -> list[Any]:
        from ray.rllib.connectors.env_to_module import FlattenObservations, MeanStdFilter

        pieces: dict[str, Any] = {"MeanStdFilter": MeanStdFilter, "FlattenObservations": FlattenObservations}
        return [pieces[name]() for name in names]

    return make


def default_of(name: str, key: str) -> Any:
    """RLlib's own value of a dotted key of its config, as plain data.

    Raises:
        ConfigError: If it has no such key.
    """
    first, *rest = key.split(".")
    refuse_unknown(name, {}) if first in keys_of(name) else refuse_unknown(name, {first: None})
    built = algorithm_class(name).get_default_config()
    value = {**_models(), **built.model_config} if first == "model_config" else getattr(built, first)
    for part in rest:
        found = value.get(part, UNSET) if isinstance(value, dict) else getattr(value, part, UNSET)
        if found is UNSET:
            raise ConfigError(f"{WHERE}.{key}", None, f"a key below RLlib's {first}")
        value = found
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        return None


UNSET = object()
