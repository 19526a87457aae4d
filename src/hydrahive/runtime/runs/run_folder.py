"""A run's folder: finding it, claiming it, and the files that say what it is."""

from __future__ import annotations

import difflib
import json
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from hydrahive.core.durable import read_json, write_whole
from hydrahive.core.errors import HydrahiveError, StoredNamesError, UsageError
from hydrahive.core.state import State
from hydrahive.runtime.config.named_code import code_named_by, is_code_trusted
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.plain import dump
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.runs import ownership
from hydrahive.runtime.runs.checkpoints import CheckpointStore, Segment
from hydrahive.runtime.runs.fence import Fence
from hydrahive.runtime.runs.locks import locked
from hydrahive.runtime.runs.sending import Sender, Tell
from hydrahive.runtime.runs.storage import Storage, is_uri, scratch_of, storage_of
from hydrahive.runtime.runs.stored import StoredRun

CLAIM_SECONDS = 1.0
"""Longest wait for a run's lock: whoever only looks whether it is held holds it for a moment, too."""

REFRESH_SECONDS = 300.0
"""Longest wait for another process that is fetching the same run."""

SECRET_BYTES = 32

SEND_SECONDS = 30.0
"""Longest wait for a storage, where nobody says for how long."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,99}")


@dataclass(frozen=True)
class Identity:
    """What makes a run this one and no other.

    Attributes:
        run_id: A UUID, minted when the run is created.
        machine_class: Where its bytes are made.
        init_from: Digest of the weights it started from, where it did not draw its own.
        fingerprint: Which code its bytes are made with; None for runs from before that was written down.
    """

    run_id: str
    machine_class: str
    init_from: str | None = None
    fingerprint: dict[str, str] | None = None


class RunFolder:
    """`<runs>/<name>/` and the files in it."""

    def __init__(self, path: Path, storage: Storage | None = None) -> None:
        """The folder at `path`, which need not exist yet; `storage`: what it is a scratch of."""
        self.stored = StoredRun(storage, path.name, path) if storage else None
        self.path = path
        self.name = path.name
        self.metrics = path / "metrics.jsonl"
        self.events = path / "events.jsonl"
        self.episodes = path / "episodes.jsonl"
        self.tensorboard = path / "tb"
        self.summary = path / "summary.json"
        self.recording = path / "episode.gif"
        self._initial = path / "initial.safetensors"
        self.fence = Fence(path, self.stored)
        self._sender = Sender(self._store)
        self._is_claimed = False

    def checkpoints(self, keep: int = 3) -> CheckpointStore:
        """Its checkpoints."""
        return CheckpointStore(self.path / "checkpoints", keep, self.segments(), self._run_id())

    def _run_id(self) -> str | None:
        return (read_json(self.path / "run.json") or {}).get("run_id")

    def segments(self) -> list[Segment]:
        """The run's segments behind its first one.

        Raises:
            HydrahiveError: If the file cannot be read.
        """
        path = self.path / "segments.json"
        if not path.is_file():
            return []
        try:
            return [Segment(**plain) for plain in json.loads(path.read_text("utf-8"))]
        except (OSError, ValueError, TypeError) as error:
            raise HydrahiveError(f"{path} cannot be read: {error}") from None

    def begin_segment(self, segment: Segment) -> None:
        """Begin a new segment; from then on no checkpoint behind its beginning counts."""
        plain = [asdict(known) for known in (*self.segments(), segment)]
        write_whole(self.path / "segments.json", json.dumps(plain, indent=1).encode())

    def note_posted(self, segment: int, updates: int) -> None:
        """Write down that the ledger has answered everything up to so many updates of a segment."""
        write_whole(self.path / "posted.json", json.dumps({"segment": segment, "updates": updates}).encode())

    def was_posted(self, segment: int, updates: int) -> bool:
        """Whether that was written down."""
        return read_json(self.path / "posted.json") == {"segment": segment, "updates": updates}

    def secret(self) -> bytes:
        """The run's own secret, 32 bytes, made when it is first asked for: its word to the ledger is sealed with it.

        Whoever can read the folder as its owner can speak for the run; nobody else shall.
        """
        path = self.path / "secret"
        if not path.is_file():
            self.path.mkdir(parents=True, exist_ok=True)
            write_whole(path, secrets.token_hex(SECRET_BYTES).encode(), mode=0o600)
        try:
            secret = bytes.fromhex(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise HydrahiveError(f"{path} cannot be read: {error}") from None
        if len(secret) != SECRET_BYTES:
            raise HydrahiveError(f"{path} cannot be read: {len(secret)} bytes in place of {SECRET_BYTES}")
        return secret

    def exists(self) -> bool:
        """Whether a run was created here, as far as one may look."""
        try:
            return (self.path / "run.json").is_file()
        except PermissionError:
            return False

    def create(self, identity: Identity, config: RunConfig, initial: State | None = None) -> None:
        """Write down what the run is; `run.json` comes last and makes it exist.

        Args:
            identity: Who it is.
            config: The run's.
            initial: The weights that it begins with, where it does not draw its own.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if initial is not None and not self._initial.is_file():
            write_whole(self._initial, save_tensors(initial))
        self.write_config(config)
        names = code_named_by(self.path / "config.yaml")
        if names or config.schedule == "rllib":  # whose checkpoints are pickled
            ownership.sign(self.path, identity.run_id, (self.path / "config.yaml").read_bytes())
        write_whole(self.path / "run.json", json.dumps(asdict(identity), indent=1).encode())

    def initial(self) -> State | None:
        """The weights that the run begins with, where it did not draw its own and they are kept.

        Raises:
            HydrahiveError: If the file cannot be read.
        """
        if not self._initial.is_file():
            return None
        try:
            return dict(load_tensors(self._initial.read_bytes()))
        except (OSError, SafetensorError) as error:
            raise HydrahiveError(f"{self._initial} cannot be read: {error}") from None

    def write_config(self, config: RunConfig) -> None:
        """Write the fully expanded config, from which the run can be repeated."""
        write_whole(self.path / "config.yaml", dump(config).encode())

    def identity(self) -> Identity:
        """What the run is.

        Raises:
            HydrahiveError: If the file cannot be read.
        """
        try:
            return Identity(**json.loads((self.path / "run.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise HydrahiveError(f"{self.path / 'run.json'} cannot be read: {error}") from None

    def config(self, *, trusted: Sequence[str] | None = ()) -> RunConfig:
        """The config it was last trained with.

        Args:
            trusted: Code that may be named though it does not come with us and the run is not this user's; None for
                any.

        Raises:
            UsageError: If it names other code than that.
            ConfigError: If it cannot be used.
        """
        if trusted is not None:
            self.refuse_others_code(trusted)
        return load_run_config(self.path / "config.yaml")

    def refuse_others_code(self, trusted: Sequence[str] = ()) -> None:
        """Refuse the run's config if it names code that is neither ours nor trusted, and the run is not this user's.

        Raises:
            UsageError: Says which code.
        """
        names = code_named_by(self.path / "config.yaml")
        if not set(names) - set(trusted) or is_code_trusted():
            return
        config = (self.path / "config.yaml").read_bytes()
        if self.exists() and ownership.is_signed(self.path, self.identity().run_id, config):
            return
        raise UsageError(
            f"run {self.name!r} names code that does not come with hydrahive ({', '.join(names)}), and was not made by "
            "you; look at that code, then give --trust-code to run it"
        )

    def read_summary(self) -> dict[str, Any] | None:
        """The summary of a finished run; None where there is none that can be read, or only another run's."""
        summary = read_json(self.summary)
        return summary if summary is not None and summary.get("run_id") in (None, self._run_id()) else None

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other processes of this machine, or that share the folder, from training this run at the same time.

        Raises:
            UsageError: If one is already at it, unless that is an outer block of this one.
        """
        with ExitStack() as claim:
            if not self._is_claimed:
                with self._not_being_copied():
                    claim.enter_context(locked(self.path / "lock", self.claim_refusal, CLAIM_SECONDS))
                self._is_claimed = True
                claim.callback(setattr, self, "_is_claimed", False)
            yield

    def _not_being_copied(self) -> AbstractContextManager[None]:
        """Keep readers from copying what is stored over the folder; they hold the claim, too, while they do."""
        if self.stored is None:
            return nullcontext()
        busy = f"another process has been fetching run {self.name!r} for {REFRESH_SECONDS:.0f} s"
        return locked(self.path / "copy.lock", busy, REFRESH_SECONDS)

    @property
    def claim_refusal(self) -> str:
        """What is said to the second who wants to train the run."""
        return f"run {self.name!r} is being trained by another process; stop it or choose another --name"

    def prove_writable(self) -> None:
        """See that the run can be written where it shall lie.

        Raises:
            UsageError: If not.
        """
        if self.stored:
            self.stored.storage.prove_writable()
        place = next(folder for folder in self.path.parents if folder.exists())
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            raise UsageError(f"--runs: cannot write to {self.path.parent}: {error.strerror or error}") from None

    def refresh(self, *, claimed: bool = False, checkpoints: bool = True) -> None:
        """Where the folder is a scratch: make it equal to what is stored, unless the run is being trained here.

        Args:
            claimed: This process holds the claim.
            checkpoints: Whether to fetch those, too.

        Raises:
            HydrahiveError: If the storage cannot be read.
        """
        if self.stored is None:
            return
        if claimed:
            self.stored.fetch()
            return
        with self._not_being_copied():
            try:
                with locked(self.path / "lock", self.claim_refusal):
                    self.stored.fetch(checkpoints=checkpoints)
            except UsageError:
                return  # it is being trained here, so this is the newest copy there is

    def store_soon(self) -> int:
        """Where the folder is a scratch: store what is new, in the background; the ticket under which that is done.

        Raises:
            HydrahiveError: If storing was ended for good before, as by another driver.
        """
        return self._sender.ask() if self.stored else 0

    @property
    def stored_up_to(self) -> int:
        """The newest ticket of which everything is stored."""
        return self._sender.done

    def look_at_storing(self, tell: Tell) -> None:
        """Tell how storing goes, if it has anything to tell; errors as `store_soon`."""
        self._sender.look(tell)

    def send(self, most_s: float = SEND_SECONDS, tell: Tell = lambda *_: None) -> None:
        """Where the folder is a scratch: store what is new, and wait for it; errors also as `Sender.finish`."""
        if self.stored:
            self._sender.ask()
            self._sender.finish(most_s, tell)

    def _store(self) -> None:
        assert self.stored is not None, "whoever asks has looked"
        self.fence.see_stored()
        self.stored.store()

    def publish(self, path: Path) -> None:
        """Where the folder is a scratch: store one of its files; errors as `StoredRun.send_file`."""
        if self.stored and path.is_file() and path.absolute().is_relative_to(self.path):
            self.stored.send_file(path.absolute().relative_to(self.path).as_posix())


def runs_place(given: str | Path | None) -> str:
    """Where runs lie, a whole path or a URI: what was given, else `HYDRAHIVE_RUNS`, else `./runs`.

    Raises:
        UsageError: In a Ray job without either; its working directory is a throw-away copy.
    """
    chosen = str(given) if given is not None else os.environ.get("HYDRAHIVE_RUNS")
    if chosen is None:
        if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
            raise UsageError("--runs: inside a Ray job an absolute folder is required, here or in HYDRAHIVE_RUNS")
        chosen = "runs"
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and not is_uri(chosen) and not Path(chosen).is_absolute():
        raise UsageError(f"--runs: {chosen!r} would be thrown away with the Ray job; an absolute folder is required")
    return chosen if is_uri(chosen) else str(Path(chosen).absolute())


def runs_folder(given: str | Path | None) -> Path:
    """The folder of runs on this machine: where they lie, or a URI's scratch; errors as `runs_place`."""
    place = runs_place(given)
    return scratch_of(place) if is_uri(place) else Path(place)


def new_run_folder(runs: Path, name: str) -> RunFolder:
    """The folder of a run to train.

    Raises:
        UsageError: If the name is not a plain folder name, or a sweep's.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"--name: {name!r} is not accepted; expected letters, digits and . _ + = - (no path)")
    if (runs / name / "sweep.yaml").is_file():
        raise UsageError(f"--name: {name!r} is a sweep; choose another for the run")
    return RunFolder(runs / name, storage_of(runs))


def find_run(runs: Path, given: str) -> RunFolder:
    """The run that a RUN argument names: a folder, or a name in `runs`.

    Raises:
        UsageError: If there is no such run; names the nearest.
        HydrahiveError: If a storage cannot be read.
    """
    storage = storage_of(runs)
    if storage and NAME.fullmatch(given) and given in storage.names():
        stored = RunFolder(runs / given, storage)
        stored.refresh()
        if stored.exists():
            return stored
    for path in (Path(given), runs / given):
        if RunFolder(path).exists():
            return RunFolder(path.absolute())
    names = storage.names() if storage else [folder.name for folder in all_runs(runs)]
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.3)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    where = storage.shown if storage else runs
    raise UsageError(f"RUN: {given!r} is neither a run's folder nor a run in {where}{hint}")


def all_runs(runs: Path) -> list[RunFolder]:
    """Every run in a folder, by name; those of a storage are fetched, and told of where they cannot be."""
    storage = storage_of(runs)
    if storage:
        found = []
        for name in filter(NAME.fullmatch, storage.names()):
            folder = RunFolder(runs / name, storage)
            try:
                folder.refresh(checkpoints=False)
            except StoredNamesError as error:
                print(f"hydrahive: run {name!r} is passed over: {error}", file=sys.stderr)
                continue
            found.append(folder)
        return [folder for folder in found if folder.exists()]
    if not runs.is_dir():
        return []
    return [folder for folder in map(RunFolder, sorted(runs.iterdir())) if folder.exists()]
