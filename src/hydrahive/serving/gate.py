"""The application: runs' policies behind HTTP, paid for at the till.

FastAPI reads the types of its endpoints, so annotations are evaluated here.
"""

import asyncio
import base64
import logging
import math
import secrets
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any

import ray
from fastapi import Depends, FastAPI, Header
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from ray import serve

from hydrahive import __version__
from hydrahive.core.errors import HydrahiveError, UsageError, first_line
from hydrahive.ledger.till.limits import TooFast
from hydrahive.ledger.till.queries import HOLD_SECONDS, Admitted, Query, Refused
from hydrahive.runtime.cluster.capacity import trusted_selector
from hydrahive.runtime.config.named_code import trust_code
from hydrahive.runtime.coordinator.actor import coordinator
from hydrahive.runtime.runs.run_folder import find_run, runs_folder, runs_place
from hydrahive.serving.body_limit import BodyLimit
from hydrahive.serving.config import ServingConfig
from hydrahive.serving.models import (
    ActRequest,
    ActResponse,
    Balance,
    EpisodeRequest,
    EpisodeResponse,
    Health,
    Model,
    Models,
    Payment,
)
from hydrahive.serving.policy import Asked, Given, ServedPolicy, require_names, require_one_precision, shown_name
from hydrahive.serving.refusals import HANDLERS, PROBLEMS, STATUS, RefusalError
from hydrahive.serving.together import Together
from hydrahive.telemetry.recording import gif_of

TOGETHER = 256
"""Queries that one call to the till carries at most."""

SETTLE_ATTEMPTS = 20
"""How often the till is told what came of a query while it is being restarted, once a second."""

LOAD_SECONDS = 30.0
"""How long a process is not asked anything while it loads."""

WAITED_LONG_SECONDS = HOLD_SECONDS / 3
"""Of an episode's turn: what was set aside before it is then set aside anew."""

EPISODES_WAITING = 8
"""Episodes that may wait for one another; they are played one at a time."""

log = logging.getLogger("hydrahive.serving")
bearer = HTTPBearer(auto_error=False, description="The API key that `hydrahive ledger accounts open NAME` shows once.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
Once = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Names the query: asked again under the same name, it is answered again and not paid again.",
    ),
]
web = FastAPI(
    title="Hydrahive",
    version=__version__,
    description="Answers of trained policies, for tokens. A query that fails is not paid.",
    responses={503: PROBLEMS[503]},
    exception_handlers=HANDLERS,
)
web.add_middleware(BodyLimit)


@dataclass(frozen=True)
class Paying:
    """A query on its way: what was set aside for it."""

    hold: int | None
    payment: Payment | None


def _key_of(credentials: HTTPAuthorizationCredentials | None) -> str:
    """The key that was shown; stands before the class, whose endpoints Serve pickles as it is decorated.

    Raises:
        RefusalError: If none was.
    """
    if credentials is None or not credentials.credentials:
        raise RefusalError(
            401, "this costs tokens: show an account's key as a bearer token", {"WWW-Authenticate": "Bearer"}
        )
    return credentials.credentials


def _any_name() -> str:
    """For a query that was given none."""
    return f"auto-{secrets.token_hex(12)}"


@serve.deployment(name="hydrahive", max_ongoing_requests=1024, health_check_period_s=2, health_check_timeout_s=10)
@serve.ingress(web)
class Gate:
    """One process that answers for all runs; there may be several."""

    def __init__(self, runs: str, names: Sequence[str], config: ServingConfig, *, trusts_code: bool = False) -> None:
        """Load; where that takes long, as while a run has no checkpoint yet, queries are told so.

        Args:
            runs: Folder or URI of the runs.
            names: Which are served, by name or folder; the first is asked by default.
            config: Prices and limits.
            trusts_code: Whether runs that somebody else has made may name code.
        """
        if trusts_code:
            trust_code()
        self._config, self._runs = config, {shown_name(run): run for run in names}
        self._names = list(self._runs)
        self._policies: dict[str, ServedPolicy] = {}
        self._wrong = ""
        web.state.body_bytes = config.body_bytes
        self._computing = ThreadPoolExecutor(1)
        self._playing = ThreadPoolExecutor(1)
        self._episodes, self._turn = 0, asyncio.Lock()
        self._coordinator = coordinator()
        self._answering: dict[str, Together] = {}
        self._admitting = Together(self._admit_all, TOGETHER)
        self._settling = Together(self._settle_all, TOGETHER)
        self._unsettled: set[asyncio.Task[Any]] = set()
        self._loaded = threading.Event()
        threading.Thread(target=self._load_and_follow, args=(runs,), daemon=True).start()
        self._loaded.wait(LOAD_SECONDS)

    def _load_and_follow(self, runs: str) -> None:
        for name in self._names:
            while name not in self._policies:
                try:
                    policy = ServedPolicy(find_run(runs_folder(runs), self._runs[name]))
                    require_one_precision(
                        {one.name: one.config.precision for one in [*self._policies.values(), policy]}
                    )
                    self._policies[name] = policy
                except Exception as error:  # the next look may do better
                    self._wrong = first_line(error)
                    time.sleep(self._config.reload_seconds)
        self._wrong = ""
        self._loaded.set()
        while True:
            time.sleep(self._config.reload_seconds)
            for policy in self._policies.values():
                try:
                    policy.follow()
                except Exception:  # the next look may do better
                    log.exception("run %s cannot be loaded again", policy.name)

    @web.get("/healthz", response_model=Health)
    async def healthz(self) -> Health:
        """Whether all runs can be asked."""
        self._require_loaded()
        return Health(status="ok")

    @web.get("/v1/model", response_model=Models)
    async def model(self) -> Models:
        """What is served, and what it costs."""
        self._require_loaded()
        return Models(
            models=[Model(**self._policies[name].facts()) for name in self._names],
            microtokens_per_query=self._config.microtokens_per_query,
            microtokens_per_episode=self._config.microtokens_per_episode,
        )

    @web.get("/v1/balance", response_model=Balance, responses={401: PROBLEMS[401]})
    async def balance(self, credentials: Credentials) -> Balance:
        """What the account of a key has."""
        found = await self._asked_of_till("query_balance", _key_of(credentials))
        if found is None:
            raise RefusalError(401, "no account has this key", {"WWW-Authenticate": "Bearer"})
        return Balance(**found)

    @web.post("/v1/act", response_model=ActResponse, responses=PROBLEMS)
    async def act(self, request: ActRequest, credentials: Credentials, once: Once = None) -> ActResponse:
        """Act on observations."""
        price = self._config.microtokens_per_query
        key = _key_of(credentials) if price else ""
        policy = self._policy(request.run)
        if len(request.observations) > self._config.rows:
            raise RefusalError(
                413, f"observations: {len(request.observations)} rows; at most {self._config.rows} at once"
            )
        try:
            asked = policy.read(request.observations, request.state, request.legal)
        except UsageError as error:
            raise RefusalError(422, str(error)) from None
        paying = await self._admit(key, price, policy.name, "act", asked.digest() if price else "", once)
        try:
            given = await self._answer(policy, asked)
            if not given.is_finite:
                raise RefusalError(422, "observations: what the policy makes of them is not finite")
        except BaseException:
            self._settle(paying, answered=False)
            raise
        self._settle(paying, answered=True)
        return ActResponse(
            actions=given.actions.tolist(),
            state=given.memory.tolist() if policy.memory_size else None,
            run=policy.name,
            updates=given.updates,
            payment=paying.payment,
        )

    @web.post("/v1/episode", response_model=EpisodeResponse, responses=PROBLEMS)
    async def episode(self, request: EpisodeRequest, credentials: Credentials, once: Once = None) -> EpisodeResponse:
        """Play an episode."""
        price = self._config.microtokens_per_episode
        key = _key_of(credentials) if price else ""
        policy = self._policy(request.run)
        if self._episodes >= EPISODES_WAITING:
            raise RefusalError(503, "too many episodes are waiting to be played; ask again", {"Retry-After": "5"})
        self._episodes += 1
        what = key, price, policy.name, "episode", str(request.episode), once or _any_name()
        asked, paying = time.monotonic(), Paying(None, None)
        try:
            paying = await self._admit(*what)
            async with self._turn:
                if paying.hold is not None and time.monotonic() - asked > WAITED_LONG_SECONDS:
                    held, paying = paying.hold, Paying(None, None)
                    await self._settled(held, answered=False)  # it would soon go back by itself
                    paying = await self._admit(*what)
                shown = await self._undisturbed(policy, request.episode)
        except BaseException:
            self._settle(paying, answered=False)
            raise
        finally:
            self._episodes -= 1
        self._settle(paying, answered=True)
        return EpisodeResponse(**shown, run=policy.name, payment=paying.payment)

    async def _undisturbed(self, policy: ServedPolicy, episode: int) -> dict[str, Any]:
        """An episode from the thread that plays; who hangs up meanwhile leaves once that is free again."""
        playing = asyncio.get_running_loop().run_in_executor(self._playing, self._shown, policy, episode)
        try:
            return await asyncio.shield(playing)
        except asyncio.CancelledError:
            await asyncio.wait([playing])
            raise

    def _shown(self, policy: ServedPolicy, episode: int) -> dict[str, Any]:
        """An episode, played and drawn.

        Raises:
            RefusalError: If its environment fails.
        """
        try:
            played, updates = policy.play(episode, self._config.episode_frames)
        except HydrahiveError as error:
            raise RefusalError(422, f"the episode cannot be played: {error}") from None
        if not math.isfinite(played.score):
            raise RefusalError(422, "the episode cannot be played: its score is not finite")
        return {
            "score": played.score,
            "steps": played.steps,
            "ended": played.ended,
            "gif": base64.b64encode(gif_of(played.frames, played.frames_per_second)).decode(),
            "updates": updates,
        }

    def _require_loaded(self) -> None:
        if len(self._policies) < len(self._names):
            raise RefusalError(503, f"still loading{': ' + self._wrong if self._wrong else ''}", {"Retry-After": "1"})

    def _policy(self, run: str | None) -> ServedPolicy:
        name = self._names[0] if run is None else run
        if name not in self._names:
            raise RefusalError(404, f"run: {name!r} is not served here; served: {', '.join(self._names)}")
        self._require_loaded()
        return self._policies[name]

    async def _answer(self, policy: ServedPolicy, asked: Asked) -> Given:
        if policy.name not in self._answering:

            async def compute(batch: list[Any]) -> Sequence[Any]:
                return await asyncio.get_running_loop().run_in_executor(self._computing, policy.answer, batch)

            self._answering[policy.name] = Together(compute, policy.columns)
        given: Any = await self._answering[policy.name](asked)
        return given  # type: ignore[no-any-return]

    async def _admit(self, key: str, price: int, run: str, what: str, asked: str, once: str | None) -> Paying:
        """Set the price aside.

        Raises:
            RefusalError: If the account may not ask.
        """
        if not price:
            return Paying(None, None)
        query = Query(key, price, run, what, asked, once or _any_name())
        answer: Any = await self._admitting(query)
        if isinstance(answer, TooFast):
            wait = str(max(1, round(answer.seconds + 0.5)))
            text = f"more than {self._config.queries_per_second} queries a second; ask again in {answer.seconds:.2f} s"
            raise RefusalError(429, text, {"Retry-After": wait})
        if isinstance(answer, Refused):
            headers = {"WWW-Authenticate": "Bearer"} if answer.reason == "wrong-key" else None
            raise RefusalError(STATUS[answer.reason], answer.text, headers)
        assert isinstance(answer, Admitted), "the till's only other answer"
        payment = Payment(
            account=answer.account,
            microtokens=0 if answer.paid else price,
            available_microtokens=answer.available,
        )
        return Paying(None if answer.paid else answer.hold, payment)

    def _settle(self, paying: Paying, *, answered: bool) -> None:
        """Have the till told, while the answer is on its way already: if that never happens, the price goes back."""
        if paying.hold is not None:
            task = asyncio.create_task(self._settled(paying.hold, answered))
            self._unsettled.add(task)
            task.add_done_callback(self._unsettled.discard)

    async def _settled(self, hold: int, answered: bool) -> None:
        for _ in range(SETTLE_ATTEMPTS):
            try:
                await self._settling((hold, answered))
                return
            except RefusalError:
                await asyncio.sleep(1)

    async def _admit_all(self, queries: list[Any]) -> Sequence[Any]:
        answers: Sequence[Any] = await self._asked_of_till("admit_queries", queries, self._config.queries_per_second)
        return answers

    async def _settle_all(self, settled: list[Any]) -> Sequence[Any]:
        answered = [hold for hold, was in settled if was]
        failed = [hold for hold, was in settled if not was]
        await self._asked_of_till("settle_queries", answered, failed)
        return settled

    async def _asked_of_till(self, method: str, *arguments: Any) -> Any:
        try:
            return await getattr(self._coordinator, method).remote(*arguments)
        except ray.exceptions.RayError as error:
            log.warning("the till does not answer: %s", type(error).__name__)
            self._coordinator = coordinator()
            raise RefusalError(503, "the ledger is away just now; nothing was paid", {"Retry-After": "1"}) from None


def _actor_options(config: ServingConfig) -> dict[str, Any]:
    """Replicas see customers' keys, so they are on nodes of the operator's own only."""
    selector = {"label_selector": trusted_selector()} if ray.is_initialized() else {}
    return {"num_cpus": config.cpus, **selector}


def build(arguments: dict[str, Any]) -> serve.Application:
    """The application, as `serve deploy` and KubeRay's RayService call for it.

    Args:
        arguments: `runs` (folder or URI; default HYDRAHIVE_RUNS), `names` (which to serve), `trust_code` (whether to
            run code that others' runs name; default false), and keys of `ServingConfig`.

    Raises:
        UsageError: If two of them have one name.
    """
    given = dict(arguments)
    runs, names = given.pop("runs", None), given.pop("names")
    trusts_code = given.pop("trust_code", False) is True
    require_names(names)
    config = ServingConfig(**given)
    deployment: Any = Gate
    options = {"num_replicas": config.replicas, "ray_actor_options": _actor_options(config)}
    application: serve.Application = deployment.options(**options).bind(
        runs_place(runs), list(names), config, trusts_code=trusts_code
    )
    return application
