"""What is sent to the server and what it answers, as OpenAPI describes it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid")


class ActRequest(Strict):
    """Observations to act on."""

    run: str | None = Field(None, description="Which run to ask; by default the first that is served.", max_length=200)
    observations: list[Any] = Field(description="[N, *shape] numbers, as `GET /v1/model` says.", min_length=1)
    state: list[list[float]] | None = Field(
        None, description="[N, memory]: what the answer before gave; none to begin."
    )
    legal: list[list[bool]] | None = Field(None, description="[N, choices]: which actions are allowed; none for all.")


class Model(BaseModel):
    """The policy that answers."""

    run: str
    experiment: str
    digest: str = Field(description="Of the checkpoint: every byte that the answer depends on.")
    machine_class: str
    updates: int
    env_steps: int
    score_mean: float | None
    observation: dict[str, Any]
    action: str
    memory: int
    choices: int | None


class Payment(BaseModel):
    """What the answer cost."""

    account: str
    microtokens: int
    available_microtokens: int


class ActResponse(BaseModel):
    """Actions."""

    actions: list[Any] = Field(description="[N, ...], as the environment takes them.")
    state: list[list[float]] | None = Field(description="[N, memory], for the next query; null without a memory.")
    run: str
    updates: int = Field(description="Which version of the weights acted.")
    payment: Payment | None


class EpisodeRequest(Strict):
    """An episode to play."""

    run: str | None = Field(None, description="Which run to ask; by default the first that is served.", max_length=200)
    episode: int = Field(0, ge=0, le=1_000_000, description="Which of the held-out episodes.")


class EpisodeResponse(BaseModel):
    """How it went."""

    score: float = Field(description="Up to there.")
    steps: int
    ended: bool = Field(description="Whether the game was over; it is broken off after the server's `episode_frames`.")
    gif: str = Field(description="Base64.")
    run: str
    updates: int
    payment: Payment | None


class Models(BaseModel):
    """Everything that is served."""

    models: list[Model]
    microtokens_per_query: int
    microtokens_per_episode: int


class Problem(BaseModel):
    """Why there is no answer, in one line."""

    error: str


class Balance(BaseModel):
    """What an account has."""

    account: str
    balance_microtokens: int
    available_microtokens: int = Field(description="Without what is set aside just now.")


class Health(BaseModel):
    """That all is well."""

    status: str
