"""A sweep as a page to read: curves, parallel coordinates, importances, lineage, and every trial with its reasons."""

from __future__ import annotations

import html
import itertools
import math
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from hydrahive.core.durable import write_whole
from hydrahive.pilot.space import Choice, Range
from hydrahive.telemetry.pages.page import page, svg, table
from hydrahive.tuning.accounts import tokens_of
from hydrahive.tuning.config import SweepConfig
from hydrahive.tuning.folder import SweepFolder, trial_name
from hydrahive.tuning.hparams import write_hparams
from hydrahive.tuning.search.breeding import ranked
from hydrahive.tuning.table import shown
from hydrahive.tuning.winner import Winner, scores_again, winner_of

COLOURS = matplotlib.colormaps["viridis"]


class Findings:
    """What a sweep's folder holds, read once."""

    def __init__(self, folder: SweepFolder, config: SweepConfig) -> None:
        """Read it."""
        self.folder, self.config = folder, config
        self.reports: dict[int, list[dict[str, Any]]] = {}
        self.endings = {}
        for number in range(config.budget.trials + config.forks):
            reports = folder.reports(trial_name(number))
            ending = folder.ending(trial_name(number))
            if reports or ending:
                self.reports[number], self.endings[number] = reports, ending
        self.winner: Winner | None = winner_of(folder) if folder.winner.is_file() else None

    def score(self, number: int) -> float | None:
        """A trial's last."""
        found: float | None = self.reports[number][-1]["score"] if self.reports[number] else None
        return found

    def values(self, number: int) -> dict[str, Any]:
        """A trial's, at its end."""
        found: dict[str, Any] = self.reports[number][-1]["values"] if self.reports[number] else {}
        return found

    def best_first(self) -> list[int]:
        """Trials, the best first."""
        scores = {number: self.score(number) for number in self.reports}
        return ranked(scores, most_is_best=self.config.mode == "max")


def write_report(folder: SweepFolder, config: SweepConfig) -> None:
    """Write `report.html`, which needs no other file, and TensorBoard's table of hyperparameters."""
    found = Findings(folder, config)
    drawn = [draw(found) for draw in (_curves, _parallel, _importances, _lineage)]
    parts = [f"<h1>{html.escape(folder.name)}</h1>", _head(found)]
    parts += [f"<figure class='wide'>{picture}</figure>" for picture in drawn if picture]
    parts += [_table(found), _again(found), _tokens(found)]
    write_whole(folder.report, page(folder.name, "\n".join(part for part in parts if part)))
    write_hparams(found.folder, config, {n: (found.values(n), found.score(n)) for n in found.reports})


def summary_text(folder: SweepFolder, config: SweepConfig, winner: Winner) -> str:
    """The sweep for people."""
    found = Findings(folder, config)
    counts: dict[str, int] = {}
    for ending in found.endings.values():
        status = ending.status if ending else "not ended"
        counts[status] = counts.get(status, 0) + 1
    again = ", ".join(f"{score:.4g}" for score in winner.scores_again)
    lines = [
        f"sweep          {folder.name}  ({folder.path})",
        f"trials         {', '.join(f'{count} {status}' for status, count in counts.items())}",
        f"winner         {trial_name(winner.trial)}, {config.metric} {winner.score:.4g}"
        + (f", the mean with other seeds ({again})" if again else ""),
        *(f"               {key} = {shown(value)}" for key, value in winner.values.items()),
        f"digest         {winner.digest}",
        f"report         {folder.report}",
        f"repeat it      hydrahive train {folder.winner_config}",
        f"train it on    hydrahive train {folder.warm_config} --init-from {folder.run(trial_name(winner.trial)).path}",
    ]
    if config.repeats:
        lines.append(f"               (not repeatable: {config.repeats})")
    return "-" * 72 + "\n" + "\n".join(lines)


def _head(found: Findings) -> str:
    config, winner = found.config, found.winner
    repeats = (
        "Repeated, the sweep gives the same lineage, best config and digest."
        if config.repeats is None
        else f"<strong>Not repeatable:</strong> {html.escape(config.repeats)}."
    )
    named = ""
    if winner:
        values = ", ".join(f"<code>{html.escape(key)}</code> {shown(value)}" for key, value in winner.values.items())
        named = (
            f"<p>Winner: <strong>{trial_name(winner.trial)}</strong>, {config.metric} {winner.score:.4g}: {values}.<br>"
            f"Digest <code>{winner.digest}</code>.</p>"
        )
    scheduler = type(config.scheduler).__name__ if config.scheduler else "every trial to its end"
    what = f"<code>{html.escape(config.experiment)}</code>, {config.metric} ({config.mode})"
    budget = f"{len(found.reports)} trials of {config.budget.env_steps:,} env steps"
    return f"<p>{what}, {budget}, {type(config.search).__name__}, {scheduler}. {repeats}</p>{named}"


def _curves(found: Findings) -> str | None:
    """Each trial's score over env steps, and the best so far."""
    best_of = max if found.config.mode == "max" else min
    points = sorted(point for reports in found.reports.values() for point in _told(reports))
    if not points:
        return None

    def draw(axes: Axes) -> None:
        for number, reports in found.reports.items():
            is_winner = found.winner is not None and found.winner.trial == number
            colour, width, label = (
                ("tab:green", 1.8, f"{trial_name(number)} (winner)") if is_winner else ("0.7", 0.9, None)
            )
            steps, scores = [at for at, _ in _told(reports)], [score for _, score in _told(reports)]
            axes.plot(steps, scores, color=colour, lw=width, label=label, zorder=3 if is_winner else 2)
        best = itertools.accumulate((score for _, score in points), best_of)
        axes.step([at for at, _ in points], list(best), where="post", color="tab:red", lw=1.2, label="best so far")
        axes.set_xlabel("env steps of a trial")
        axes.set_ylabel(found.config.metric)
        axes.legend(frameon=False)

    return svg("Best so far", draw, 9.0, 4.0)


def _told(reports: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """A trial's env steps and scores."""
    return [(row["env_steps"], row["score"]) for row in reports if row["score"] is not None]


def _parallel(found: Findings) -> str | None:
    """A line for each trial through its values, coloured by its score."""
    keys = list(found.config.domains)
    scored = [n for n in found.best_first() if found.score(n) is not None]
    if not scored:
        return None
    scores = np.array([found.score(n) for n in scored], float)
    spread = float(np.ptp(scores)) or 1.0

    def draw(axes: Axes) -> None:
        for number, score in reversed(list(zip(scored, scores, strict=True))):
            heights = [_height(found, key, found.values(number)[key]) for key in keys]
            heights.append((score - scores.min()) / spread)
            shade = heights[-1] if found.config.mode == "max" else 1 - heights[-1]
            axes.plot(range(len(keys) + 1), heights, color=COLOURS(shade), alpha=0.8, lw=1.4)
        for at, key in enumerate(keys):
            low, high = _ends(found, key)
            axes.axvline(at, color="0.8", lw=0.8)
            axes.text(at, -0.04, low, ha="center", va="top", fontsize=8)
            axes.text(at, 1.03, high, ha="center", va="bottom", fontsize=8)
        axes.axvline(len(keys), color="0.8", lw=0.8)
        axes.text(len(keys), -0.04, f"{scores.min():.3g}", ha="center", va="top", fontsize=8)
        axes.text(len(keys), 1.03, f"{scores.max():.3g}", ha="center", va="bottom", fontsize=8)
        axes.set_xticks(range(len(keys) + 1), [*keys, found.config.metric], fontsize=8)
        axes.set_yticks([])
        axes.set_ylim(-0.12, 1.12)
        for side in axes.spines.values():
            side.set_visible(False)

    return svg("Parallel coordinates", draw, max(6.0, 2.0 * len(keys) + 2), 4.0)


def _height(found: Findings, key: str, value: Any) -> float:
    """Where a value stands in its domain, 0 to 1."""
    domain = found.config.domains[key]
    if isinstance(domain, Range):
        if domain.log:
            return math.log(value / domain.low) / math.log(domain.high / domain.low)
        return float((value - domain.low) / (domain.high - domain.low))
    assert isinstance(domain, Choice), "the kinds of domains"
    return domain.values.index(value) / max(1, len(domain.values) - 1) if value in domain.values else 0.0


def _ends(found: Findings, key: str) -> tuple[str, str]:
    domain = found.config.domains[key]
    low, high = (
        (domain.low, domain.high) if isinstance(domain, Range) else (domain.extremes()[0], domain.extremes()[-1])
    )
    return shown(low), shown(high)


def _importances(found: Findings) -> str | None:
    """How much of the scores' differences each key explains (PED-ANOVA, Watanabe et al. 2023, by Optuna)."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    scored = [n for n in found.reports if found.score(n) is not None and found.values(n)]
    if len(scored) < 4:
        return None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize" if found.config.mode == "max" else "minimize")
    distributions = {key: domain.optuna() for key, domain in found.config.domains.items()}
    for number in scored:
        params = {}
        for key, value in found.values(number).items():
            domain = found.config.domains[key]
            if isinstance(domain, Choice) and value not in domain.values:
                break
            params[key] = domain.values.index(value) if isinstance(domain, Choice) else value
        if set(params) != set(distributions):
            continue
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=found.score(number))
        )
    try:
        importances = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    except (RuntimeError, ValueError):  # all alike
        return None

    def draw(axes: Axes) -> None:
        names = list(importances)[::-1]
        axes.barh(names, [importances[name] for name in names], color="tab:blue")
        axes.set_xlabel("share of the differences among the better trials that it explains")

    return svg("Importances", draw, 8.0, 0.6 + 0.5 * len(importances))


def _lineage(found: Findings) -> str | None:
    """Trials over milestones; an arrow where one went on as a copy of another."""
    decisions = found.folder.decisions()
    if not decisions:
        return None
    last = max((row["milestone"] for reports in found.reports.values() for row in reports), default=1)
    scores = [row["score"] for reports in found.reports.values() for row in reports if row["score"] is not None]
    low, spread = (min(scores), (max(scores) - min(scores)) or 1.0) if scores else (0.0, 1.0)

    def draw(axes: Axes) -> None:
        for number, reports in found.reports.items():
            axes.plot([0, *(row["milestone"] for row in reports)], [number] * (len(reports) + 1), color="0.8", lw=1)
            told = [row for row in reports if row["score"] is not None]
            shades = [(row["score"] - low) / spread for row in told]
            axes.scatter(
                [row["milestone"] for row in told],
                [number] * len(told),
                c=[COLOURS(shade if found.config.mode == "max" else 1 - shade) for shade in shades],
                s=45,
                zorder=3,
            )
        for decision in decisions:
            for exploit in decision.exploits:
                to, since = (decision.milestone + 0.25, exploit.trial), (decision.milestone, exploit.donor)
                axes.annotate("", to, since, arrowprops={"arrowstyle": "->", "color": "tab:red", "lw": 1.2})
        for milestone, number in _ancestors(found):
            axes.scatter([milestone], [number], s=130, facecolors="none", edgecolors="tab:green", zorder=4)
        axes.set_xlabel("milestone (bright: better; green: the winner's line)")
        axes.set_yticks(list(found.reports), [trial_name(number) for number in found.reports], fontsize=8)
        axes.set_xlim(-0.2, last + 0.5)
        axes.set_ylim(max(found.reports) + 0.5, min(found.reports) - 0.5)

    return svg("Lineage", draw, 9.0, 1.2 + 0.4 * len(found.reports))


def _ancestors(found: Findings) -> list[tuple[int, int]]:
    """The winner's line backwards: who it was at each milestone."""
    if found.winner is None:
        return []
    copied = {(d.milestone, e.trial): e.donor for d in found.folder.decisions() for e in d.exploits}
    number, line = found.winner.trial, []
    for milestone in range(max(row["milestone"] for row in found.reports[number]), 0, -1):
        number = copied.get((milestone, number), number)
        line.append((milestone, number))
    return line


def _table(found: Findings) -> str:
    keys = list(found.config.domains)
    rows, marked = [], None
    for i, number in enumerate(found.best_first()):
        reports, ending, score = found.reports[number], found.endings[number], found.score(number)
        if found.winner and found.winner.trial == number:
            marked = i
        why = f"{ending.status}: {ending.reason}" if ending and ending.reason else ending.status if ending else ""
        steps = f"{reports[-1]['env_steps']:,}" if reports else "0"
        values = [shown(found.values(number).get(key, "")) for key in keys]
        rows.append([trial_name(number), "-" if score is None else f"{score:.4g}", steps, *values, why])
    header = ["trial", found.config.metric, "env steps", *keys, "ended"]
    return f"<h2>Trials</h2>{table(header, rows, 'no trial has begun', marked)}"


def _again(found: Findings) -> str:
    rows = []
    for number in found.best_first():
        scores = scores_again(found.config, found.folder, number)
        if scores:
            each = ", ".join(f"{score:.4g}" for score in scores)
            rows.append([trial_name(number), f"{np.mean(scores):.4g}", each])
    return f"<h2>The best, trained again with other seeds</h2>{table(['trial', 'mean', 'each'], rows)}" if rows else ""


def _tokens(found: Findings) -> str:
    rows = [[row.owner, f"{row.env_steps:,}", f"{row.microtokens / 1e6:,.6f}"] for row in tokens_of(found.folder)]
    return f"<h2>Who computed it</h2>{table(['account', 'env steps', 'tokens'], rows)}" if rows else ""
