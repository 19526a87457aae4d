"""The environments that `make claims` tries one by one: others', and odd ones of the tests."""

from __future__ import annotations

from typing import Any

Kind = dict[str, Any]
"""What stands under `env` in a config, and `agents` of a world where there are several."""


def gym(name: str, *wrappers: str, snapshots: str = "captured", **kwargs: Any) -> Kind:
    init: dict[str, Any] = {"id": name, "kwargs": kwargs, "wrappers": list(wrappers), "snapshots": snapshots}
    return {"env": {"class_path": "Gym", "init_args": init}}


def zoo(name: str, agents: int, snapshots: str = "captured", groups: Any = None, **kwargs: Any) -> Kind:
    init: dict[str, Any] = {"id": name, "kwargs": kwargs, "snapshots": snapshots}
    init |= {"groups": groups} if groups else {}
    return {"env": {"class_path": "PettingZoo", "init_args": init}, "agents": agents}


def grid(name: str) -> Kind:
    return gym(f"minigrid:MiniGrid-{name}-v0", "minigrid.wrappers.ImgObsWrapper")


GYMNASIUM = {
    name: gym(name)
    for name in (
        "CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1", "Pendulum-v1", "Blackjack-v1",
        "FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "Taxi-v3",
    )
}  # fmt: skip

BOX2D = {
    name: gym(name, snapshots="none")
    for name in ("LunarLander-v3", "LunarLanderContinuous-v3", "BipedalWalker-v3", "BipedalWalkerHardcore-v3")
} | {"CarRacing-v3": gym("CarRacing-v3", snapshots="none")}

MUJOCO = {
    f"{name}-v5": gym(f"{name}-v5")
    for name in (
        "HalfCheetah", "Hopper", "Walker2d", "Ant", "Humanoid", "HumanoidStandup", "Swimmer", "Pusher", "Reacher",
        "InvertedPendulum", "InvertedDoublePendulum",
    )
}  # fmt: skip

ROBOTICS = {
    name: gym(f"gymnasium_robotics:{name}")
    for name in (
        "FetchReach-v4", "FetchPush-v4", "FetchPickAndPlace-v4", "HandReach-v3", "PointMaze_UMaze-v3", "AntMaze_UMaze-v5",
        "AdroitHandDoor-v1", "FrankaKitchen-v1",
    )
}  # fmt: skip

DM_CONTROL = {
    name: gym(f"shimmy:dm_control/{name}-v0")
    for name in (
        "cheetah-run", "walker-walk", "humanoid-walk", "ball_in_cup-catch", "acrobot-swingup", "cartpole-swingup",
        "finger-spin", "fish-swim", "hopper-hop", "manipulator-bring_ball", "pendulum-swingup", "quadruped-run",
        "reacher-hard", "swimmer-swimmer6", "point_mass-easy", "dog-run",
    )
}  # fmt: skip

MINIGRID = {
    f"MiniGrid-{name}-v0": grid(name)
    for name in (
        "Empty-5x5", "DoorKey-5x5", "FourRooms", "KeyCorridorS3R1", "MultiRoom-N2-S4", "LavaCrossingS9N1",
        "Dynamic-Obstacles-5x5", "GoToDoor-5x5", "Fetch-5x5-N2", "Unlock", "RedBlueDoors-6x6", "MemoryS7", "PutNear-6x6-N2",
    )
} | {"MiniGrid-Empty-5x5-v0, with its mission": gym("minigrid:MiniGrid-Empty-5x5-v0")}  # fmt: skip

MINATAR = {
    f"MinAtar/{name}-v1": gym(f"hydrahive.envs.minatar:MinAtar/{name}-v1")
    for name in ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")
}

PETTINGZOO = {
    "connect_four_v3": zoo("pettingzoo.classic.connect_four_v3", 2),
    "tictactoe_v3": zoo("pettingzoo.classic.tictactoe_v3", 2),
    "go_v5": zoo("pettingzoo.classic.go_v5", 2, "none", board_size=7),
    "leduc_holdem_v4": zoo("pettingzoo.classic.leduc_holdem_v4", 2),
    "texas_holdem_v4": zoo("pettingzoo.classic.texas_holdem_v4", 2),
    "texas_holdem_no_limit_v6": zoo("pettingzoo.classic.texas_holdem_no_limit_v6", 2),
    "rps_v2": zoo("pettingzoo.classic.rps_v2", 2),
    "pistonball_v6": zoo("pettingzoo.butterfly.pistonball_v6", 5, snapshots="none", n_pistons=5, continuous=False),
    "cooperative_pong_v6": zoo("pettingzoo.butterfly.cooperative_pong_v6", 2, snapshots="none"),
    "knights_archers_zombies_v11": zoo("pettingzoo.butterfly.knights_archers_zombies_v11", 4, snapshots="none"),
    "pursuit_v5": zoo("pettingzoo.sisl.pursuit_v5", 8, snapshots="none"),
    "multiwalker_v9": zoo("pettingzoo.sisl.multiwalker_v9", 3, snapshots="none"),
}

MPE = {
    "simple_v3": zoo("mpe2.simple_v3", 1),
    "simple_spread_v3": zoo("mpe2.simple_spread_v3", 3),
    "simple_reference_v3": zoo("mpe2.simple_reference_v3", 2),
    "simple_speaker_listener_v4": zoo(
        "mpe2.simple_speaker_listener_v4", 2, groups={"speakers": ["speaker_*"], "listeners": ["listener_*"]}
    ),
    "simple_tag_v3": zoo("mpe2.simple_tag_v3", 4, groups={"hunters": ["adversary_*"], "prey": ["agent_*"]}),
    "simple_adversary_v3": zoo(
        "mpe2.simple_adversary_v3", 3, groups={"adversaries": ["adversary_*"], "good": ["agent_*"]}
    ),
    "simple_push_v3": zoo("mpe2.simple_push_v3", 2, groups={"adversaries": ["adversary_*"], "good": ["agent_*"]}),
}

OTHERS = {
    "Atari: freeway": {"env": {"class_path": "Atari", "init_args": {"game": "freeway"}}},
    "EnvPool: CartPole-v1": {"env": {"class_path": "EnvPool", "init_args": {"id": "CartPole-v1"}}},
    "EnvPool: Ant-v4": {"env": {"class_path": "EnvPool", "init_args": {"id": "Ant-v4"}}},
    "EnvPool: Pong-v5": {"env": {"class_path": "EnvPool", "init_args": {"id": "Pong-v5"}}},
    "hydrahive/Snake": {"env": {"class_path": "Snake", "init_args": {"size": 8, "window": 5}}},
    "hydrahive/Swarm": {"env": {"class_path": "Swarm", "init_args": {"agents": 4}}, "agents": 4},
}

ODD = {
    f"{name}-v0": gym(f"strangers:{name}-v0")
    for name in (
        "Walk", "Doubles", "Closes", "Spawns", "Samples", "Tabled", "Recorded", "Slotted", "Thousands", "Shelf", "Masked", "Offset",
        "Overflows", "Halves", "Switches", "Longer", "Partly", "Entropy", "Global", "Common", "Hashed", "Letters", "Billions",
        "TooLarge", "Nothing", "OldStep", "OldReset", "Lists", "Words", "Raises",
    )
}  # fmt: skip
ODD |= {
    "Fills-v0": gym("strangers:Fills-v0", seen=[]),
    "Walk-v0, statistics": gym("strangers:Walk-v0", "strangers.Averages"),
    "Masked-v0, additive": gym("strangers:Masked-v0", form="additive"),
    "Masked-v0, too long": gym("strangers:Masked-v0", form="long"),
    "Rows-v0, NEXT_STEP": gym("strangers:Rows-v0", mode="NEXT_STEP"),
    "Rows-v0, SAME_STEP": gym("strangers:Rows-v0", mode="SAME_STEP"),
    "Rows-v0, DISABLED": gym("strangers:Rows-v0", mode="DISABLED"),
    "far_worlds, vanishes": zoo("far_worlds", 2, does="vanishes"),
    "far_worlds, returns": zoo("far_worlds", 2, does="returns"),
    "far_worlds, bytes": zoo("far_worlds", 2, does="bytes"),
    "far_worlds, entropy": zoo("far_worlds", 2, does="entropy"),
}

FAMILIES = {
    "Gymnasium": GYMNASIUM,
    "Box2D": BOX2D,
    "MuJoCo": MUJOCO,
    "Gymnasium-Robotics": ROBOTICS,
    "DeepMind's control suite": DM_CONTROL,
    "MiniGrid": MINIGRID,
    "MinAtar": MINATAR,
    "PettingZoo": PETTINGZOO,
    "MPE": MPE,
    "others": OTHERS,
    "odd ones": ODD,
}
"""All of them."""
