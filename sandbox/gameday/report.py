"""What game days showed, as `docs/gameday.md`: `runbook gameday --json > ONE.json`, then this module with the files.

Several game days are read together, of any seeds and platforms: what counts is each fault that was played. What the
page is made from is kept beside it, in `docs/gameday/`; without a file it is made again from that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opslib.settings import PROJECT
from sandbox.gameday import scoreboard, summary

__all__ = ["page", "reliability"]

_BINS = ((0.0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.0001))
_IMAGE = Path("images/gameday-reliability.svg")
_KEPT = Path("gameday")


def reliability(faults: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How often a cause that was given a likelihood was the true one.

    Returns
    -------
    list of dict
        One an interval of likelihoods in which any lies: `stated` (their mean), `observed` (the share of true ones),
        `n`.
    """
    stated = [
        (float(cause["likelihood"]), cause["key"] == one["expected"]) for one in faults for cause in one["causes"]
    ]
    found = []
    for low, high in _BINS:
        within = [(likelihood, true) for likelihood, true in stated if low <= likelihood < high]
        if within:
            mean, share = (statistics.fmean(values) for values in zip(*within, strict=True))
            found.append({"stated": mean, "observed": share, "n": len(within)})
    return found


def page(documents: Sequence[Mapping[str, Any]]) -> str:
    """The page in Markdown.

    Parameters
    ----------
    documents : sequence of mapping
        As `runbook gameday --json` prints them.
    """
    faults = [one for document in documents for one in document["faults"] if not one["missing"]]
    healthy = [one for document in documents for one in document["healthy"]]
    told = summary(faults, healthy)
    verdicts = [one["verdict_s"] for one in faults if one["verdict_s"] is not None]
    seeds = ", ".join(str(seed) for seed in sorted({one["seed"] for one in faults}))
    decoys = ", ".join(str(number) for number in sorted({one["decoys"] for one in faults}))
    lines = [
        "# Game days",
        "",
        "What the playbooks named when the sandbox was broken, and what their plans did: "
        "`runbook gameday` breaks, waits for the alert through Prometheus and Alertmanager, lets the playbook run, "
        "applies its plan as a person with the authority, and waits until the alert is over. "
        "Made by `python -m sandbox.gameday.report` from what lies in `docs/gameday/`; run a game day of your own to "
        "see whether it still holds.",
        "",
        *_table(
            ("", ""),
            [
                ("faults played (seeds " + seeds + "; " + decoys + " decoys)", str(told["n"])),
                ("true cause named", f"{told['correct']} of {told['n']}"),
                ("plan as needed, and it worked", f"{told['plans_ok']} of {told['n']}"),
                ("harmful changes / unneeded actions", f"{told['harmful']} / {told['unneeded']}"),
                ("false alarms", f"{told['false_alarms']} in {told['healthy']} healthy rounds"),
                ("alert to verdict, median / worst [s]", _pair(verdicts)),
                ("Brier score (0 best, 1 worst)", "-" if told["brier"] is None else f"{told['brier']:.3f}"),
            ],
        ),
        "",
        "## Named against broken",
        "",
        "A row is what was broken, a column what was named.",
    ]
    for matrix in scoreboard.matrices(faults):
        rows = [(cause, *(str(count or "·") for count in counts)) for cause, counts in matrix["rows"]]
        lines += ["", f"### {matrix['runbook']}", "", *_table(("broken", *matrix["columns"]), rows)]
    wrong = [one for one in faults if not one["correct"] or not one["plan_ok"] or one["problem"]]
    if wrong:
        lines += ["", "## What went wrong", "", *_table(("fault", "seed", "named", "what"), map(_wrong, wrong))]
    return "\n".join(
        [
            *lines,
            "",
            "## Are the likelihoods true?",
            "",
            "Of all causes that were given a likelihood about so high: how many were true. On the line: as stated.",
            "",
            f"![Stated likelihood against how often it was true]({_IMAGE})",
            "",
        ]
    )


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> list[str]:
    heads = list(head)
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


def _pair(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} / {max(values):.1f}" if values else "-"


def _wrong(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    plan = "" if one["plan_ok"] else f"plan {', '.join(one['plan']) or 'none'}: {one['plan_state'] or 'not made'}"
    said = "; ".join(filter(None, (one["problem"], plan))).replace("|", "/")
    return one["fault"], str(one["seed"]), one["named"] or "nothing", said or "the wrong cause"


def _draw(path: Path, points: Sequence[Mapping[str, Any]]) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "gameday"  # the same figures, the same file
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", zorder=1)
    axes.plot([one["stated"] for one in points], [one["observed"] for one in points], marker="o", zorder=2)
    for one in points:
        side = -1 if one["stated"] > 0.5 else 1
        axes.annotate(
            f"n = {one['n']}", (one["stated"], one["observed"]), xytext=(8 * side, -3), textcoords="offset points",
            ha="right" if side < 0 else "left",
        )  # fmt: skip
    axes.set(xlabel="stated likelihood", ylabel="share of true causes", xlim=(-0.03, 1.03), ylim=(-0.06, 1.06))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def kept(docs: Path) -> list[dict[str, Any]]:
    """The game days that the page is made from, the oldest first."""
    return [json.loads(path.read_text("utf-8")) for path in sorted((docs / _KEPT).glob("*.json"))]


def _keep(docs: Path, document: Mapping[str, Any]) -> None:
    """Put a game day beside the page, without what was true only where it was played."""
    facts = {name: value for name, value in document["summary"].items() if name != "scoreboard"}
    place = docs / _KEPT / f"{facts['begun_at'][:19].replace(':', '')}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({**document, "summary": facts}, indent=1) + "\n", "utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Write the page and its picture."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.gameday.report", description=__doc__)
    parser.add_argument("documents", nargs="*", type=Path, help="what `runbook gameday --json` printed")
    parser.add_argument("--docs", type=Path, default=PROJECT / "docs", help="the folder of the page")
    asked = parser.parse_args(arguments)
    try:
        for path in asked.documents:
            _keep(asked.docs, json.loads(path.read_text("utf-8")))
        documents = kept(asked.docs)
    except (OSError, ValueError, KeyError) as error:
        parser.error(f"{error}; name files that `runbook gameday --json` printed")
    if not documents:
        parser.error("there is no game day yet; name files that `runbook gameday --json` printed")
    faults = [one for document in documents for one in document["faults"] if not one["missing"]]
    _draw(asked.docs / _IMAGE, reliability(faults))
    (asked.docs / "gameday.md").write_text(page(documents), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
