"""The application: runs' policies behind HTTP, paid for at the till.

FastAPI reads the types of its endpoints, so annotations are evaluated here.
"""

import asyncio
import base64
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any

import ray
from fastapi import Depends, FastAPI, Header
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from ray import serve

from hydrahive import __version__
from hydrahive.core.errors import HydrahiveError, UsageError, first_line
from hydrahive.ledger.till.queries import HOLD_SECONDS
from hydrahive.runtime.cluster.capacity import trusted_selector
from hydrahive.runtime.config.named_code import trust_code
from hydrahive.runtime.runs.run_folder import runs_folder, runs_place
from hydrahive.serving.answered import Answered, Name
from hydrahive.serving.config import ServingConfig
from hydrahive.serving.door import SMALL, Door, Most
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
from hydrahive.serving.payments import Paying, Payments, Question, any_name
from hydrahive.serving.policy import (
    Asked,
    Given,
    ServedPolicy,
    require_names,
    require_one_precision,
    served,
    shown_name,
)
from hydrahive.serving.refusals import HANDLERS, PROBLEMS, RefusalError
from hydrahive.serving.together import Together
from hydrahive.telemetry.recording import gif_of

LOAD_SECONDS = 30.0
"""How long a process is not asked anything while it loads."""

WAITED_LONG_SECONDS = HOLD_SECONDS / 3
"""Of an episode's turn: what was set aside before it is then set aside anew."""

BYTES_OF_A_NUMBER = 32
"""In a list of Python's, about."""

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
web.add_middleware(Door)


@dataclass
class Asker:
    """Whoever asks: how many wait for the one answer, and what was set aside for it."""

    waiting: int = 0
    paying: Paying = field(default_factory=Paying)


Make = Callable[[Paying, Asker], Awaitable[tuple[Any, int]]]
"""Makes an answer; it, and about how many bytes it has."""


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


def _with(answer: Any, payment: Payment | None) -> Any:
    """An answer, paid otherwise."""
    return answer.model_copy(update={"payment": payment})


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
        web.state.behind = self
        self._computing, self._playing = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._episodes, self._turn = 0, asyncio.Lock()
        self._answering: dict[str, Together] = {}
        self._payments, self._answered = Payments(config.queries_per_second), Answered()
        self._under_way: dict[Name, tuple[Asker, asyncio.Task[Any]]] = {}
        self._loaded = threading.Event()
        threading.Thread(target=self._load_and_follow, args=(runs,), daemon=True).start()
        self._loaded.wait(LOAD_SECONDS)

    def _load_and_follow(self, runs: str) -> None:
        for name in self._names:
            while name not in self._policies:
                try:
                    policy = served(self._runs[name], runs_folder(runs))
                    known = {**self._policies, name: policy}
                    require_one_precision({one.name: one.config.precision for one in known.values()})
                    self._policies = known
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
        found = await self._payments.asked("query_balance", _key_of(credentials))
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
        digest = asked.digest() if price else ""
        question = Question(key, price, policy.name, "act", digest, (price and once) or any_name())
        answer: Any = await self._to_its_end(question, lambda paying, _: self._acted(policy, asked, paying))
        return answer  # type: ignore[no-any-return]

    async def _acted(self, policy: ServedPolicy, asked: Asked, paying: Paying) -> tuple[ActResponse, int]:
        given = await self._answer(policy, asked)
        if not given.is_finite:
            raise RefusalError(422, "observations: what the policy makes of them is not finite")
        response = ActResponse(
            actions=given.actions.tolist(),
            state=given.memory.tolist() if policy.memory_size else None,
            run=policy.name,
            updates=given.updates,
            payment=paying.payment,
        )
        return response, BYTES_OF_A_NUMBER * (given.actions.size + given.memory.size)

    @web.post("/v1/episode", response_model=EpisodeResponse, responses=PROBLEMS)
    async def episode(self, request: EpisodeRequest, credentials: Credentials, once: Once = None) -> EpisodeResponse:
        """Play an episode."""
        price = self._config.microtokens_per_episode
        key = _key_of(credentials) if price else ""
        policy = self._policy(request.run)
        question = Question(key, price, policy.name, "episode", str(request.episode), (price and once) or any_name())
        if self._answered.found(question.name) is None and self._episodes >= EPISODES_WAITING:
            raise RefusalError(503, "too many episodes are waiting to be played; ask again", {"Retry-After": "5"})
        self._episodes += 1
        try:
            answer: Any = await self._to_its_end(
                question, lambda paying, asker: self._played(policy, request.episode, question, paying, asker)
            )
        finally:
            self._episodes -= 1
        return answer  # type: ignore[no-any-return]

    async def _played(
        self, policy: ServedPolicy, episode: int, question: Question, paying: Paying, asker: Asker
    ) -> tuple[EpisodeResponse, int]:
        """Play an episode once its turn has come; whoever hangs up before that is not played for, and does not pay."""
        asked = time.monotonic()
        async with self._turn:
            if not asker.waiting:
                raise RefusalError(499, "whoever asked has hung up")
            if paying.hold is not None and time.monotonic() - asked > WAITED_LONG_SECONDS:
                await self._payments.settled(paying.hold, answered=False)  # it would soon go back by itself
                asker.paying = paying = await self._payments.admit(question)
            loop = asyncio.get_running_loop()
            shown = await loop.run_in_executor(self._playing, self._shown, policy, episode)
        return EpisodeResponse(**shown, run=policy.name, payment=paying.payment), len(shown["gif"])

    async def _to_its_end(self, question: Question, make: Make) -> Any:
        """The answer to a question, which is computed, paid and kept also if whoever asked hangs up meanwhile.

        Under one name it is computed once: who asks again while it is, waits for it; who asks later, is given it.
        """
        is_first = question.name not in self._under_way
        if is_first:
            asker = Asker()
            self._under_way[question.name] = asker, asyncio.create_task(self._answer_to(question, make, asker))
        asker, task = self._under_way[question.name]
        asker.waiting += 1
        try:
            answer = await asyncio.shield(task)
        finally:
            asker.waiting -= 1
        paid = answer.payment
        return answer if is_first or paid is None else _with(answer, paid.model_copy(update={"microtokens": 0}))

    async def _answer_to(self, question: Question, make: Make, asker: Asker) -> Any:
        try:
            return await self._paid_answer(question, make, asker)
        except RefusalError as refusal:
            if not asker.waiting:
                log.info("nobody hears that %s", refusal.text)
                return None
            raise
        finally:
            del self._under_way[question.name]

    async def _paid_answer(self, question: Question, make: Make, asker: Asker) -> Any:
        asker.paying = await self._payments.admit(question)
        if asker.paying.was_paid is not None:
            kept = self._answered.found(question.name)
            if kept is not None:
                return _with(kept, asker.paying.payment)
            await self._payments.answer_again(asker.paying)
        try:
            answer, size = await make(asker.paying, asker)
        except BaseException:
            self._payments.settle(asker.paying, answered=False)
            raise
        if question.price:
            self._answered.keep(question.name, answer, size)
        self._payments.settle(asker.paying, answered=True)
        return answer

    def needs_key(self, method: str, path: str) -> bool | None:
        """Whether somebody must show a key there before anything else; None where nothing is looked at."""
        prices = {"/v1/act": self._config.microtokens_per_query, "/v1/episode": self._config.microtokens_per_episode}
        if method == "POST" and path in prices:
            return prices[path] > 0
        return True if (method, path) == ("GET", "/v1/balance") else None

    def most(self, path: str) -> Most:
        """What a body may hold, by the largest of what is served."""
        if path != "/v1/act":
            return Most(SMALL, 0, 0)
        rows, most = self._config.rows, self._config.body_bytes
        served = self._policies.values()
        sizes = [Most.of(rows, one.space.shape, one.memory_size, one.choices or 0, most) for one in served]
        return max(sizes, key=lambda one: (one.size, one.lists), default=Most(SMALL, 0, 0))

    async def is_somebodys(self, key: str) -> bool:
        """Whether an account has this key."""
        return bool(await self._payments.asked("is_somebodys", key))

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

    def still_loading(self) -> str:
        """Why nobody can be answered yet; empty once all is loaded."""
        if len(self._policies) == len(self._names):
            return ""
        return f"still loading{': ' + self._wrong if self._wrong else ''}"

    def _require_loaded(self) -> None:
        if loading := self.still_loading():
            raise RefusalError(503, loading, {"Retry-After": "1"})

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
