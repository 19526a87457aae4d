"""The journal's file: where it may lie, what it may hold, and that nobody overdraws it."""

import multiprocessing
import os
import sqlite3
import subprocess
import sys

import pytest

from hydrahive.core.errors import LedgerError, RefusedError, UsageError
from hydrahive.ledger.entries import TREASURY
from hydrahive.ledger.ledger import Ledger, ledger_path
from hydrahive.ledger.place import filesystem_of, require_local
from hydrahive.ledger.verification import verify

MOUNTS = """\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 21 0:40 / /mnt/shared rw,relatime shared:5 - nfs4 server:/export rw
31 30 0:41 / /mnt/shared/fast rw - xfs /dev/vdb rw
32 21 0:42 / /mnt/with\\040space rw - fuse.sshfs me@there: rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/a/b", "ext4"), ("/mnt/shared/x", "nfs4"), ("/mnt/shared/fast/x", "xfs"), ("/mnt/sharedx/y", "ext4"),
     ("/mnt/with space/x", "fuse.sshfs")],
)  # fmt: skip
def test_the_filesystem_is_that_of_the_nearest_mount(tmp_path, path, kind):
    from pathlib import Path

    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert filesystem_of(Path(path), MOUNTS)[0] == kind
    if kind in ("ext4", "xfs"):
        require_local(Path(path), mounts)
    else:
        with pytest.raises(LedgerError, match=rf"lies on a network filesystem \({kind} at /mnt/.*HYDRAHIVE_LEDGER"):
            require_local(Path(path), mounts)


def test_a_ledger_on_a_network_filesystem_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"30 21 0:40 / {tmp_path} rw - nfs server:/export rw\n")
    monkeypatch.setattr("hydrahive.ledger.place.MOUNTS", mounts)
    with pytest.raises(LedgerError, match="network filesystem"):
        Ledger(tmp_path / "runs" / "ledger.sqlite")
    assert not (tmp_path / "runs").exists()


def open_account(path):
    Ledger(path).accounts.open("bob")


def damaged(path, how):
    if how == "newer":
        Ledger(path).close()
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version = 4")
        db.close()
    elif how == "other database":
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE cats (name TEXT)")
        db.close()
    elif how == "text":
        path.write_text("this is no database, whatever its name says\n" * 100)
    elif how == "truncated":
        ledger = Ledger(path)
        ledger.accounts.open("alice")
        ledger.close()
        path.write_bytes(path.read_bytes()[:6000])


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("newer", "is of format 4, this version of hydrahive reads up to 3"),
        ("other database", "is a database, but no ledger"),
        ("text", "is damaged or no ledger"),
        ("truncated", "is damaged or no ledger"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, how, says):
    path = tmp_path / "ledger.sqlite"
    damaged(path, how)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=says) as refused:
        open_account(path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made_or_written_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="its folder cannot be made"):
        Ledger(tmp_path / "file" / "below" / "ledger.sqlite")
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(LedgerError, match="cannot be opened for writing"):
        Ledger(tmp_path / "folder.sqlite")
    with pytest.raises(LedgerError, match="there is no ledger at"):
        Ledger(tmp_path / "none.sqlite", create=False)


def test_where_the_ledger_lies(tmp_path, monkeypatch):
    monkeypatch.delenv("HYDRAHIVE_LEDGER", raising=False)
    assert ledger_path(None, tmp_path) == tmp_path / "ledger.sqlite"
    assert ledger_path(None, None) is None
    monkeypatch.setenv("HYDRAHIVE_LEDGER", str(tmp_path / "other"))
    assert ledger_path(None, tmp_path) == tmp_path / "other"
    assert ledger_path("/given", tmp_path).name == "given"


def test_keys_are_shown_once_and_only_their_hash_is_kept(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    first = ledger.accounts.open("alice")
    assert ledger.accounts.prove("alice", first).name == "alice"
    assert first.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    with pytest.raises(UsageError, match="open already"):
        ledger.accounts.open("alice")
    second = ledger.accounts.renew("alice")
    for name, key, code in [
        ("alice", first, "wrong-key"),
        ("alice", None, "no-key"),
        ("alice", "", "no-key"),
        ("bob", second, "unknown-account"),
    ]:
        with pytest.raises(RefusedError) as refused:
            ledger.accounts.prove(name, key)
        assert refused.value.code == code
    ledger.accounts.revoke("alice")
    with pytest.raises(RefusedError, match="its key was revoked"):
        ledger.accounts.prove("alice", second)
    recorded = [code for (code,) in ledger.journal.db.execute("SELECT code FROM refusals ORDER BY id")]
    assert recorded == ["wrong-key", "no-key", "unknown-account", "revoked-key"], "each kind at once, then counted"
    third = ledger.accounts.renew("alice")
    assert ledger.accounts.prove("alice", third)
    assert verify(ledger.journal).problem is None


@pytest.mark.parametrize("name", ["", "treasury", "a b", "-a", "a/b", "x" * 64, "a\nb"])
def test_names_that_are_none_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="NAME"):
        Ledger(tmp_path / "ledger.sqlite").accounts.open(name)


def test_entries_cannot_be_changed_or_removed(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.accounts.open("alice")
    for statement in ("UPDATE journal SET amount = 5", "DELETE FROM journal"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            ledger.journal.db.execute(statement)


def test_a_batch_is_whole_or_has_not_happened(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.accounts.open("alice")
    before = ledger.journal.head()

    def failing():
        with ledger.batch():
            for i in range(5):
                ledger.transfers.transfer(TREASURY, "alice", 10, f"t{i}")
            raise KeyError("in the middle")

    with pytest.raises(KeyError):
        failing()
    assert ledger.journal.head() == before
    with ledger.batch():
        for i in range(5):
            ledger.transfers.transfer(TREASURY, "alice", 10, f"t{i}")
    assert ledger.journal.account("alice").balance == 50


def spend(path, start, results):
    """One of many processes that spend the same money."""
    ledger = Ledger(path)
    start.wait()
    spent = 0
    for i in range(40):
        try:
            ledger.transfers.transfer("alice", "bob", 7, f"{os.getpid()}/{i}")
            spent += 7
        except RefusedError:
            continue
    ledger.close()
    results.put(spent)


def test_eight_processes_cannot_overdraw_an_account(tmp_path):
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    for name in ("alice", "bob"):
        ledger.accounts.open(name)
    ledger.transfers.transfer(TREASURY, "alice", 1000, "gift")
    ledger.close()
    context = multiprocessing.get_context("spawn")
    start, results = context.Event(), context.Queue()
    spenders = [context.Process(target=spend, args=(path, start, results)) for _ in range(8)]
    for spender in spenders:
        spender.start()
    start.set()
    spent = sum(results.get(timeout=60) for _ in spenders)
    for spender in spenders:
        spender.join(timeout=60)
    ledger = Ledger(path)
    assert spent == 142 * 7
    assert ledger.journal.account("alice").available == 1000 - spent
    assert ledger.journal.account("bob").balance == spent
    refused = ledger.journal.db.execute("SELECT code, sum(times) FROM refusals GROUP BY code").fetchall()
    assert refused == [("overdraft", 320 - 142)]
    assert verify(ledger.journal).problem is None


def test_two_phases(tmp_path):
    now = [1_000_000]
    ledger = Ledger(tmp_path / "ledger.sqlite", lambda: now[0])
    for name in ("alice", "shop"):
        ledger.accounts.open(name)
    ledger.transfers.transfer(TREASURY, "alice", 100, "gift")
    held = ledger.transfers.hold("alice", "shop", 60, "h1", expires_us=2_000_000)
    assert ledger.transfers.hold("alice", "shop", 60, "h1", expires_us=2_000_000) == held
    with pytest.raises(UsageError, match="was used for another entry"):
        ledger.transfers.hold("alice", "shop", 61, "h1", expires_us=2_000_000)
    with pytest.raises(RefusedError, match=r"0\.000040 tokens available"):
        ledger.transfers.transfer("alice", "shop", 41, "t1")
    posted = ledger.transfers.post(held.seq)
    assert ledger.transfers.post(held.seq) == posted
    with pytest.raises(UsageError, match="was posted already"):
        ledger.transfers.void(held.seq)
    late = ledger.transfers.hold("alice", "shop", 40, "h2", expires_us=2_000_000)
    now[0] = 2_000_000
    with pytest.raises(UsageError, match="has expired already"):
        ledger.transfers.post(late.seq)
    again = ledger.transfers.hold("alice", "shop", 40, "h3")
    ledger.transfers.void(again.seq)
    assert [ledger.journal.account(name).balance for name in ("alice", "shop", TREASURY)] == [40, 60, -100]
    back = ledger.transfers.reverse(posted.seq, "wrong shop")
    assert ledger.transfers.reverse(posted.seq, "asked twice") == back
    assert [ledger.journal.account(name).balance for name in ("alice", "shop", TREASURY)] == [100, 0, -100]
    with pytest.raises(UsageError, match="nothing to reverse"):
        ledger.transfers.reverse(1, "an opening")
    for amount in (0, -5, 1.5, True, 2**60):
        with pytest.raises(UsageError, match="amount"):
            ledger.transfers.transfer("alice", "shop", amount, "x")
    assert verify(ledger.journal).problem is None


def test_a_copy_is_a_ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.accounts.open("alice")
    ledger.journal.backup(tmp_path / "copy.sqlite")
    copy = Ledger(tmp_path / "copy.sqlite", create=False)
    assert verify(copy.journal) == verify(ledger.journal)
    with pytest.raises(LedgerError, match="exists already"):
        ledger.journal.backup(tmp_path / "copy.sqlite")


def test_opening_a_ledger_twice_frees_no_locks(tmp_path):
    """Else another process that comes and goes takes the log away in which this one goes on."""
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    ledger.accounts.open("ann")
    Ledger(path).close()
    look = "import sys, pathlib; from hydrahive.ledger.ledger import Ledger\n"
    look += "ledger = Ledger(pathlib.Path(sys.argv[1])); print(*[name for (name,) in ledger.journal.db.execute('SELECT name FROM accounts')])\n"
    look += "ledger.close()"

    def seen():
        command = [sys.executable, "-c", look, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert "ann" in seen()
    ledger.accounts.open("bob")
    assert {"ann", "bob"} <= set(seen())
    ledger.accounts.open("eve")
    assert verify(ledger.journal).problem is None
    ledger.close()
    assert {"ann", "bob", "eve"} <= set(seen())


def test_nobody_else_reads_a_ledger_or_its_copy(tmp_path):
    path, copy = tmp_path / "ledger.sqlite", tmp_path / "copy.sqlite"
    path.touch(0o644)
    ledger = Ledger(path)
    ledger.accounts.open("alice")
    ledger.journal.backup(copy)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    assert len(list(tmp_path.iterdir())) > 2, "SQLite's own files among them"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["balance", ""], "expected a name"),
        (["accounts", "renew", ""], "expected a name"),
        (["audit", "--run", ""], "expected a name"),
        (["transfer", "--reverse", str(2**63)], "expected an integer from 1 to"),
        (["journal", "--last", "9" * 20], "expected an integer from 1 to"),
        (["verify", "--head", "\u00b2:" + "0" * 64], "expected NUMBER:HASH"),
        (["verify", "--head", "0:" + "0" * 64], "this is another ledger"),
        (["accounts", "renew", "treasury"], "the ledger's own account"),
        (["accounts", "revoke", "treasury"], "the ledger's own account"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(hydrahive, words, says):
    Ledger(hydrahive.runs / "ledger.sqlite").close()
    done = hydrahive.start("ledger", *words)
    out, err = done.communicate()
    assert (done.returncode in (1, 2), out, err.count("\n")) == (True, "", 1)
    assert says in err
