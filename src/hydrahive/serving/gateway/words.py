"""What volunteers and the gateway say to each other, as JSON; FastAPI describes it from here."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Short = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Line = Annotated[str, StringConstraints(max_length=2000)]
Name = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Strict(BaseModel):
    """Refuses keys that it does not have."""

    model_config = ConfigDict(extra="forbid")


class Enter(Strict):
    """A process of a volunteer's wants to work."""

    run: Short | None = Field(None, description="A run by name; null for whichever needs it most.")
    shown: bool = Field(False, description="Whether the account's name may stand on the page for everybody.")


class Entered(BaseModel):
    """What it is to prove first."""

    worker: Name = Field(description="Names the process in all that it asks.")
    run_id: str
    run: str
    config: dict[str, Any] = Field(description="The run's config, as far as it decides bytes.")
    portable: bool = Field(description="Whether the processor's instructions have to be pinned.")
    nonce: int = Field(description="What the known fragment is drawn from.")
    seconds: float = Field(description="How long `/v1/lease` waits at most before it answers with nothing.")


class Proof(Strict):
    """What a process computes with, and the digest of the known fragment."""

    worker: Name
    machine_class: Line
    fingerprint: Annotated[dict[Short, Short], Field(max_length=32)]
    digest: Digest


class Worker(Strict):
    """A process."""

    worker: Name


class Lent(BaseModel):
    """A round's acting, lent."""

    lease: Name
    round: int
    version: int
    weights: Digest
    states: dict[int, str] = Field(description="By shard: the state to begin with, or empty where one's own goes on.")
    sizes: dict[int, int] = Field(description="By shard: bytes of its state.")
    seconds: float = Field(description="How long it may be waited for.")


class Leases(BaseModel):
    """What is to be done, in order; empty where there is nothing yet."""

    leases: list[Lent]


class Received(BaseModel):
    """An answer has come whole; the same again changes nothing."""

    received: bool


class Earnings(BaseModel):
    """What an account has earned and has."""

    account: str
    env_steps: int
    earned_microtokens: int
    pending_microtokens: int
    balance_microtokens: int


class Left(BaseModel):
    """The process is forgotten; what it held goes elsewhere."""

    left: bool


class Health(BaseModel):
    """Whether the gateway is up."""

    status: str
