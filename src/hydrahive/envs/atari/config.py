"""Which Atari game, under which protocol."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hydrahive.core.config import EnvConfig, made, require, require_integer, require_number
from hydrahive.core.errors import ConfigError, not_installed
from hydrahive.core.state import SnapshotKind


@dataclass(frozen=True)
class Protocol:
    """What published results differ in.

    Attributes:
        sticky_actions: Probability that a frame repeats the action of the frame before.
        life_loss_ends: Whether losing a life ends an episode for the learner; scores stay those of whole games.
        noop_max: A game begins with fewer than this many actions that do nothing, drawn evenly; 0 for none.
    """

    sticky_actions: float
    life_loss_ends: bool
    noop_max: int


PROTOCOLS = {
    # Machado et al. 2018, section 5.
    "machado": Protocol(sticky_actions=0.25, life_loss_ends=False, noop_max=0),
    # Mnih et al. 2015, methods.
    "deepmind": Protocol(sticky_actions=0.0, life_loss_ends=True, noop_max=31),
}


FOR_SEVERAL = ("combat", "joust", "maze_craze", "warlords")
"""ROMs that ALE plays with several players only; asked for one, it ends the process."""


@dataclass(frozen=True)
class Atari(EnvConfig):
    """An Atari 2600 game in the Arcade Learning Environment (Bellemare et al. 2013): grey frames, stacked.

    Rewards are the game's own; an algorithm's `reward_clip` clips what is learned from, and scores never are.

    Attributes:
        game: Its name, as `pong`, `ms_pacman` or `ALE/MsPacman-v5`.
        protocol: `machado` (Machado et al. 2018): sticky actions, whole games. `deepmind` (Mnih et al. 2015): games
            begin with actions that do nothing, a lost life ends an episode. What follows replaces parts of it.
        sticky_actions: Probability that a frame repeats the action of the frame before; null as the protocol says.
        life_loss_ends: Whether losing a life ends an episode for the learner; null as the protocol says. Scores and
            lengths are always those of whole games.
        noop_max: A game begins with fewer than this many actions that do nothing; null as the protocol says.
        fire_on_reset: Whether a game that waits for the fire button has it pressed at its start.
        full_action_set: Whether all 18 actions can be taken instead of those that mean something in the game.
        frame_skip: Frames for which an action is repeated; the last two are pooled into what is seen.
        stack: Frames of an observation.
        size: Height and width of a frame in pixels.
        max_frames: Frames after which a game is truncated; 108,000 are half an hour.
    """

    game: str
    protocol: Literal["machado", "deepmind"] = "machado"
    sticky_actions: float | None = None
    life_loss_ends: bool | None = None
    noop_max: int | None = None
    fire_on_reset: bool = False
    full_action_set: bool = False
    frame_skip: int = 4
    stack: int = 4
    size: int = 84
    max_frames: int = 108_000

    numpy_products: ClassVar[bool] = False
    step_weight: ClassVar[int] = 2000
    """What emulating and drawing four frames costs, in Snake steps."""

    evaluated: ClassVar[Literal["greedy", "sampled"]] = "sampled"
    """A greedy policy may stand still for ever before a game that waits for a button."""

    def __post_init__(self) -> None:
        """Refuse games without a ROM, offering the nearest, and values outside their range."""
        self.rom_path()
        if self.sticky_actions is not None:
            require_number("sticky_actions", self.sticky_actions, 0, 1)
        if self.noop_max is not None:
            require_integer("noop_max", self.noop_max, 0, 1000)
        require_integer("frame_skip", self.frame_skip, 1, 1000)
        require_integer("stack", self.stack, 1, 64)
        require_integer("size", self.size, 8, 512)
        require_integer("max_frames", self.max_frames, self.frame_skip, 2**31 - 1)

    @property
    def rules(self) -> Protocol:
        """The protocol with what replaces parts of it."""
        chosen = PROTOCOLS[self.protocol]
        given = {name: getattr(self, name) for name in vars(chosen) if getattr(self, name) is not None}
        return Protocol(**{**vars(chosen), **given})

    @property
    def rom(self) -> str:
        """The game's name as its ROM has it: `MsPacman` and `ALE/MsPacman-v5` are `ms_pacman`."""
        bare = re.sub(r"-v\d+$", "", self.game.removeprefix("ALE/")).lower()
        return next((rom for rom in _known() if rom.replace("_", "") == bare.replace("_", "")), bare)

    def modules(self) -> tuple[str, ...]:
        """ALE emulates, and makes the pictures smaller."""
        return ("ale_py",)

    @property
    def snapshot_kind(self) -> SnapshotKind:
        """The emulator's state cannot be taken out, but what was played can be played again."""
        return SnapshotKind.REPLAYABLE

    @property
    def longest_episode(self) -> int:
        """`max_frames`, in agent steps."""
        return self.max_frames // self.frame_skip + 1

    def rom_path(self) -> str:
        """Where the game's ROM lies.

        Raises:
            ConfigError: If there is no such game, or its ROM is missing.
        """
        if self.rom not in _known():
            near = difflib.get_close_matches(self.rom, _known(), n=3, cutoff=0.4)
            known = "an Atari game for one player" if self.rom in FOR_SEVERAL else "an Atari game"
            raise ConfigError("game", self.game, known + (f" ({', '.join(near)}?)" if near else ""))
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it says where it looks
                path = _roms().get_rom_path(self.rom)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError("game", self.game, f"a game whose ROM ale-py has ({error})") from None
        require(
            path is not None and path.exists(), "game", self.game, f"a game whose ROM ale-py has (no {self.rom}.bin)"
        )
        return str(path)

    @property
    def scores_all_episodes(self) -> bool:
        """A game's lives have no scores of their own."""
        return not self.rules.life_loss_ends

    def normalised(self, score: float) -> dict[str, float]:
        """`human_normalised`: 0 is random play, 1 a human; nothing for a game of which nobody published these."""
        from hydrahive.envs.atari.scores import RANDOM_AND_HUMAN

        if self.rom not in RANDOM_AND_HUMAN:
            return {}
        random, human = RANDOM_AND_HUMAN[self.rom]
        return {"human_normalised": (score - random) / (human - random)}

    def make_vector(self, num_envs: int) -> Any:
        """`num_envs` games."""
        return made("hydrahive.envs.atari.vector:AtariVector", self, num_envs)

    def make_single(self, render_mode: str | None = None) -> Any:
        """One game; `rgb_array` draws it in its own colours and size."""
        return made("hydrahive.envs.atari.single:AtariSingle", self, render_mode)


def _roms() -> Any:
    try:
        return importlib.import_module("ale_py.roms")
    except ImportError as error:
        raise not_installed("env: Atari", error) from None


def _known() -> list[str]:
    return sorted(set(_roms().get_all_rom_ids()) - set(FOR_SEVERAL))
