"""Reading the ledger: what people and programs are shown of balances, entries and audits."""

from __future__ import annotations

from typing import Any

from hydrahive.ledger.entries import TREASURY, share
from hydrahive.ledger.journal import Journal
from hydrahive.ledger.learning import learning_by_owner

Row = dict[str, Any]

PAID = ("earned", "learning", "clawed", "unlearned")
"""What work has brought an account, be it taken back later."""

RIGHT = "c.audit IN ('verified', 'bonded')"
"""Of credits that were computed again in full."""

NO_WORK = {"workers": 0, "env_steps": 0, "verified": 0, "replayed": 0, "earned": 0, "clawed": 0}
NO_LEARNING = {"gradient_rows": 0, "learning": 0, "unlearned": 0}
NO_WORK |= NO_LEARNING


def balances(journal: Journal, name: str | None = None) -> list[Row]:
    """What each owner did, earned, spent and has: one row an account but the treasury, most env steps first.

    Env steps are those paid and not taken back; `share` is the owner's part of all of them, `audited_share` the part
    of his own that an audit has computed again in full, `replayed_share` the part whose environments' steps it has.
    `acting` is what env steps earned, `learning` what `gradient_rows`, rows of gradients for a learner, did.
    """
    assert name is None or name, "an account is named"
    work = _work_by_owner(journal)
    everything = sum(row["env_steps"] for row in work.values())
    rows = []
    for account in journal.accounts():
        done = work.get(account.name, NO_WORK)
        if account.name == TREASURY or name not in (None, account.name):
            continue
        steps = done["env_steps"]
        rows.append(
            {
                "owner": account.name,
                "workers": done["workers"],
                "env_steps": steps,
                "share": share(steps, everything),
                "gradient_rows": done["gradient_rows"],
                "acting": done["earned"],
                "learning": done["learning"],
                "earned": done["earned"] + done["learning"],
                "received": account.credits - sum(done[kind] for kind in PAID),
                "spent": account.debits - done["clawed"] - done["unlearned"],
                "pending": account.credits_pending - account.debits_pending,
                "balance": account.balance,
                "audited_share": share(done["verified"], steps),
                "replayed_share": share(done["verified"] + done["replayed"], steps),
            }
        )
    assert all(0 <= row["share"] <= 1 for row in rows), "parts of a whole"
    return sorted(rows, key=lambda row: (-int(row["env_steps"]), str(row["owner"])))


def accounts(journal: Journal) -> list[Row]:
    """All accounts with the state of their keys."""
    revoked = {
        name for (name,) in journal.db.execute("SELECT DISTINCT credit FROM journal WHERE kind = 'revoked'").fetchall()
    }
    rows: list[Row] = []
    for account in journal.accounts():
        assert account.name, "an account is named"
        key = "active" if account.key_hash else ("revoked" if account.name in revoked else "none")
        rows.append({"account": account.name, "key": key, "balance": account.balance, "opened_us": account.opened_us})
    assert len(rows) <= 1 or rows[0]["account"] < rows[-1]["account"], "by name"
    return rows


def entries(journal: Journal, account: str | None = None, run: str | None = None, last: int | None = None) -> list[Row]:
    """The journal's entries, oldest first: all, or those of an account or a run, or only the last so many."""
    assert last is None or last >= 1, "at least one"
    wanted, values = [], []
    if account is not None:
        wanted.append("(debit = ? OR credit = ?)")
        values += [account, account]
    if run is not None:
        wanted.append("json_extract(memo, '$.run') IN (SELECT run_id FROM runs WHERE run_id = ? OR name = ?)")
        values += [run, run]
    where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
    limit = "" if last is None else f"LIMIT {last}"
    with journal.readable_errors():
        rows = _rows(journal, f"SELECT * FROM journal {where} ORDER BY seq DESC {limit}", *values)  # noqa: S608  of our own words; values are bound
    assert all(row["amount"] >= 0 for row in rows), "nothing moves backwards"
    return rows[::-1]


def work_credits(journal: Journal) -> list[Row]:
    """Every fragment that was paid for, or claimed and not paid, by run, segment, round and shard."""
    with journal.readable_errors():
        rows = _rows(
            journal,
            "SELECT r.run_id, r.name AS run, c.segment, c.round, c.shard, w.name AS worker, w.owner, c.env_steps, "
            "c.amount, c.state, c.audit, c.digest, c.seq FROM credits c JOIN runs r ON r.id = c.run "
            "JOIN workers w ON w.id = c.worker ORDER BY c.run, c.segment, c.round, c.shard",
        )
    assert all(row["state"] in ("paid", "pending", "voided", "clawed") for row in rows), "the states of a credit"
    assert all(row["env_steps"] >= 0 for row in rows), "steps are counted"
    return rows


def audits(journal: Journal, run: str | None = None) -> list[Row]:
    """Every audit of a run, or of all, oldest first."""
    assert run is None or run, "a run is named"
    where, values = ("", []) if run is None else ("WHERE r.run_id = ? OR r.name = ?", [run, run])
    with journal.readable_errors():
        rows = _rows(
            journal,
            "SELECT a.time_us, r.name AS run, a.segment, a.shard, a.from_round, a.until_round, a.outcome, a.workers, "  # noqa: S608  of our own words; values are bound
            f"a.env_steps, a.text FROM audits a JOIN runs r ON r.id = a.run {where} ORDER BY a.id",
            *values,
        )
    assert all(row["from_round"] <= row["until_round"] for row in rows), "time goes forward"
    return rows


def workers(journal: Journal) -> list[Row]:
    """Every worker that ever was credited, with what it did and whether it is quarantined."""
    with journal.readable_errors():
        rows = _rows(
            journal,
            "SELECT r.name AS run, w.name AS worker, w.owner, w.node, w.state, "  # noqa: S608  of our own words
            "coalesce(sum(c.env_steps) FILTER (WHERE c.state = 'paid'), 0) AS env_steps, "
            f"coalesce(sum(c.env_steps) FILTER (WHERE c.state = 'paid' AND {RIGHT}), 0) AS verified, "
            "coalesce(sum(c.env_steps) FILTER (WHERE c.state != 'paid'), 0) AS not_paid "
            "FROM workers w JOIN runs r ON r.id = w.run LEFT JOIN credits c ON c.worker = w.id "
            "GROUP BY w.id ORDER BY w.id",
        )
    assert all(row["verified"] <= row["env_steps"] for row in rows), "a part of it"
    assert all(row["not_paid"] >= 0 for row in rows), "steps are counted"
    return rows


def strikes(journal: Journal, account: str | None = None) -> list[Row]:
    """Every strike, or an account's, oldest first: why, and whether it was forgiven."""
    where, values = ("", []) if account is None else ("WHERE account = ?", [account])
    with journal.readable_errors():
        rows = _rows(
            journal,
            f"SELECT time_us, account, run, node, text, forgiven_us FROM strikes {where} ORDER BY id",  # noqa: S608  of our own words
            *values,
        )
    assert all(row["account"] for row in rows), "a strike is somebody's"
    assert all(row["text"] for row in rows), "and has a reason"
    return rows


def refusals(journal: Journal) -> list[Row]:
    """Everything that was refused, oldest first."""
    with journal.readable_errors():
        rows = _rows(journal, "SELECT time_us, code, subject, times, text FROM refusals ORDER BY id")
    assert all(row["code"] for row in rows), "a refusal has a reason"
    assert all(row["subject"] for row in rows), "somebody or something was refused"
    return rows


def work_of(journal: Journal, run: str) -> list[Row]:
    """What each owner did for a run, or for all runs of a sweep, whose names begin with the sweep's."""
    rows = list(_work_by_owner(journal, run).values())
    assert all(row["env_steps"] >= row["verified"] for row in rows), "a part of it"
    assert [row["owner"] for row in rows] == sorted(row["owner"] for row in rows), "by name"
    return rows


def _work_by_owner(journal: Journal, run: str | None = None) -> dict[str, Row]:
    of_run = "run_id = ?1 OR name = ?1 OR substr(name, 1, length(?1) + 1) = ?1 || '/'"
    where = f"WHERE w.run IN (SELECT id FROM runs WHERE {of_run})" if run else ""  # noqa: S608  of our own words; values are bound
    with journal.readable_errors():
        rows = _rows(
            journal,
            "SELECT w.owner, count(DISTINCT w.id) AS workers, "  # noqa: S608  of our own words; values are bound
            "coalesce(sum(c.env_steps) FILTER (WHERE c.state = 'paid'), 0) AS env_steps, "
            f"coalesce(sum(c.env_steps) FILTER (WHERE c.state = 'paid' AND {RIGHT}), 0) AS verified, "
            "coalesce(sum(c.env_steps) FILTER (WHERE c.state = 'paid' AND c.audit = 'replayed'), 0) AS replayed, "
            "coalesce(sum(c.amount) FILTER (WHERE c.state = 'paid'), 0) AS earned, "
            # What was set aside, and voided, never was his.
            "coalesce(sum(c.amount) FILTER (WHERE c.state = 'clawed' AND EXISTS "
            "(SELECT 1 FROM journal k WHERE k.key = 'clawback/' || c.seq)), 0) AS clawed "
            f"FROM workers w LEFT JOIN credits c ON c.worker = w.id {where} GROUP BY w.owner ORDER BY w.owner",
            *([run] if run else []),
        )
    by_learning = learning_by_owner(journal, where, [run] if run else [])
    rows = [{**row, **by_learning.get(row["owner"], NO_LEARNING)} for row in rows]
    assert all(row["verified"] + row["replayed"] <= row["env_steps"] for row in rows), "parts of it"
    assert len({row["owner"] for row in rows}) == len(rows), "one row an owner"
    return {row["owner"]: row for row in rows}


def _rows(journal: Journal, query: str, *values: object) -> list[Row]:
    assert query.startswith("SELECT"), "statements only read"
    cursor = journal.db.execute(query, values)
    keys = [column[0] for column in cursor.description]
    assert len(set(keys)) == len(keys), "each column has its own name"
    return [dict(zip(keys, row, strict=True)) for row in cursor]
