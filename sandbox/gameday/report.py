"""What game days showed, as `docs/gameday.md`: `runbook gameday --page`, or this module with what `--json` printed.

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

__all__ = ["page", "publish", "reliability"]

MEDIAN_S = 3.0
"""How long alert to verdict may take in the median [s]."""
WORST_S = 10.0
"""How long it may take in any round [s]."""
HEALTHY = 20
"""In how many healthy rounds there must be no false alarm."""
PAIRS = 6
UNLISTED = 3
"""How many different ones have to be played."""

_BINS = ((0.0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.0001))
_IMAGE = Path("images/gameday-reliability.svg")
_KEPT = Path("gameday")
_KINDS = ("faults", "pairs", "unlisted", "healthy")


def reliability(faults: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How often a cause that was given a likelihood was the true one.

    Returns
    -------
    list of dict
        One an interval of likelihoods in which any lies: `stated` (their mean), `observed` (the share of true ones),
        `n`.
    """
    stated = [(float(cause["likelihood"]), cause["key"] in _expected(one)) for one in faults for cause in one["causes"]]
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
    faults, pairs, unlisted, healthy = (_rounds(documents, kind) for kind in _KINDS)
    seeds = ", ".join(str(seed) for seed in sorted({one["seed"] for one in [*faults, *pairs, *unlisted]}))
    decoys = ", ".join(str(number) for number in sorted({one["decoys"] for one in [*faults, *pairs, *unlisted]}))
    lines = [
        "# Game days",
        "",
        "What the playbooks named when the sandbox was broken, and what their plans did: "
        "`runbook gameday` breaks, waits for the alert through Prometheus and Alertmanager, lets the playbook run, "
        "applies its plan as a person with the authority, and waits until the alert is over. "
        "Made by `runbook gameday --page`, or `python -m sandbox.gameday.report`, from what lies in `docs/gameday/`; "
        "run a game day of your own (`make gameday`) to see whether it still holds.",
        "",
        f"{len(faults)} rounds with a fault, {len(pairs)} with two at once, {len(unlisted)} with a cause that no "
        f"playbook knows; seeds {seeds or '-'}; {decoys or '-'} decoys in each.",
        "",
        *_table(("figure", "bound", "is", ""), _figures(faults, pairs, unlisted, healthy)),
        "",
        "## Named against broken",
        "",
        "A row is what was broken, a column what was named.",
    ]
    for matrix in scoreboard.matrices([*faults, *unlisted]):
        rows = [(cause, *(str(count or "·") for count in counts)) for cause, counts in matrix["rows"]]
        lines += ["", f"### {matrix['runbook']}", "", *_table(("broken", *matrix["columns"]), rows)]
    if pairs:
        lines += [
            "",
            "## Two at once",
            "",
            "Both causes have to be given more than one half.",
            "",
            *_table(("broken", "seed", "above one half", "both"), map(_both, pairs)),
        ]
    wrong = [(one, said) for one in [*faults, *pairs, *unlisted] if (said := _wrong(one))]
    fooled = [(one, said) for one in healthy if (said := _fooled(one))]
    if wrong or fooled:
        rows = [
            (one["fault"], str(one["seed"]), scoreboard.words(one["named"]), _cell("; ".join(said)))
            for one, said in wrong
        ]
        rows += [(one["round"], str(one["seed"]), "", _cell("; ".join(said))) for one, said in fooled]
        lines += ["", "## What went wrong", "", *_table(("round", "seed", "named", "what"), rows)]
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


def _rounds(documents: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    """The rounds of a kind; those without a playbook are left out."""
    return [one for document in documents for one in document.get(kind, ()) if not one.get("missing")]


def _expected(one: Mapping[str, Any]) -> list[str]:
    """The causes that were to be named."""
    return [one["expected"]] if isinstance(one["expected"], str) else list(one["expected"])


def _figures(
    faults: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    unlisted: Sequence[Mapping[str, Any]],
    healthy: Sequence[Mapping[str, Any]],
) -> list[tuple[str, str, str, str]]:
    """Each figure: what it is, its bound, its value, and whether it is met; what was not played is not met."""
    told = summary(faults, healthy, pairs, unlisted)
    kinds = [len({one["fault"] for one in some}) for some in (pairs, unlisted)]
    median, worst, brier = told["median_verdict_s"], told["worst_verdict_s"], told["brier"]

    def all_of(right: int, played: int) -> tuple[str, bool]:
        return f"{right} of {played}", bool(played) and right == played

    both, none = all_of(told["pairs_correct"], told["pairs"]), all_of(told["unlisted_correct"], told["unlisted"])
    calm = told["false_alarms"] == 0 and len(healthy) >= HEALTHY
    rows = [
        ("true cause named first", "all", *all_of(told["correct"], told["n"])),
        ("plan as the seed demands, applied, alert over", "all", *all_of(told["plans_ok"], told["n"])),
        ("harmful changes", "0", str(told["harmful"]), bool(told["n"]) and told["harmful"] == 0),
        ("unneeded actions", "0", str(told["unneeded"]), bool(told["n"]) and told["unneeded"] == 0),
        ("false alarms", f"0 in at least {HEALTHY} healthy rounds", f"{told['false_alarms']} in {len(healthy)}", calm),
        ("alert to verdict, median [s]", f"< {MEDIAN_S:g}", _seconds(median), median is not None and median < MEDIAN_S),
        ("alert to verdict, worst [s]", f"< {WORST_S:g}", _seconds(worst), worst is not None and worst < WORST_S),
        (f"both of two at once above one half ({kinds[0]} pairs)", f"all of {PAIRS} pairs", both[0],
         both[1] and kinds[0] >= PAIRS),
        (f"`none-of-these` of a cause that is not listed ({kinds[1]} causes)", f"all of {UNLISTED} causes", none[0],
         none[1] and kinds[1] >= UNLISTED),
    ]  # fmt: skip
    found = [(name, bound, value, "met" if met else "**not met**") for name, bound, value, met in rows]
    return [*found, ("Brier score (0 best, 1 worst)", "", "-" if brier is None else f"{brier:.3f}", "")]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _both(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    stated = [f"{cause['key']} {cause['likelihood']:.2f}" for cause in one["causes"] if cause["key"] in one["named"]]
    return (
        one["fault"],
        str(one["seed"]),
        ", ".join(stated) or scoreboard.NOTHING,
        "yes" if one["correct"] else "**no**",
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> list[str]:
    heads = list(head)
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


def _wrong(one: Mapping[str, Any]) -> list[str]:
    """What of a round was not as it should be, in words; nothing where all was."""
    expected = " + ".join(_expected(one))
    found = [] if one["correct"] else [f"{expected} was not named"]
    if one["problem"]:
        found.append(one["problem"])
    if not one["plan_ok"]:
        found.append(f"plan {', '.join(one['plan']) or 'none'}: {one['plan_state'] or 'not made'}")
    found += [f"{name} is lacking" for name in one["lacking"]]
    found += [f"harmful: {name}" for name in one["harm"]]
    found += [f"unneeded: {name}" for name in one["not_needed"]]
    if one["verdict_s"] is not None and one["verdict_s"] >= WORST_S:
        found.append(f"the verdict took {one['verdict_s']:.1f} s")
    return found


def _fooled(one: Mapping[str, Any]) -> list[str]:
    """What a healthy round showed that it should not, in words."""
    found = [f"alert {name}" for name in one["alerts"]]
    found += [
        f"{run['runbook']} found {run['cause'] or 'something'}{' and made a plan' * run['plan']}"
        for run in one["runs"]
        if run["confirmed"] or run["cause"] or run["plan"]
    ]
    return [*found, *([one["problem"]] if one["problem"] else [])]


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


def publish(docs: Path, documents: Iterable[Mapping[str, Any]]) -> bool:
    """Keep game days beside the page, and make page and picture anew from all that are kept; whether there are any."""
    for document in documents:
        _keep(docs, document)
    everything = kept(docs)
    if not everything:
        return False
    broken = [one for kind in _KINDS[:3] for one in _rounds(everything, kind)]
    _draw(docs / _IMAGE, reliability(broken))
    (docs / "gameday.md").write_text(page(everything), "utf-8")
    return True


def main(arguments: list[str] | None = None) -> int:
    """Write the page and its picture."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.gameday.report", description=__doc__)
    parser.add_argument("documents", nargs="*", type=Path, help="what `runbook gameday --json` printed")
    parser.add_argument("--docs", type=Path, default=PROJECT / "docs", help="the folder of the page")
    asked = parser.parse_args(arguments)
    try:
        made = publish(asked.docs, [json.loads(path.read_text("utf-8")) for path in asked.documents])
    except (OSError, ValueError, KeyError) as error:
        parser.error(f"{error}; name files that `runbook gameday --json` printed")
    if not made:
        parser.error("there is no game day yet; name files that `runbook gameday --json` printed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
