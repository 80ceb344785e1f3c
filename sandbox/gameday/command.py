"""`runbook gameday`: break everything that can break, and score the playbooks."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from opslib.commands.output import err, out, print_json, print_table, printable, say
from opslib.settings import PROJECT, Settings
from sandbox.progress import Progress

__all__ = ["gameday"]

_GUESS_S = {True: 75.0, False: 50.0}
"""How long a round with a fault, and a healthy one, takes before one was played [s]."""


def gameday(
    only: Annotated[str | None, typer.Option(metavar="GLOB", help="Only these faults, as 'var-breach/*'.")] = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="Also chosen pairs of two faults at once.")] = False,
    unlisted: Annotated[bool, typer.Option("--unlisted", help="Also causes that no playbook knows.")] = False,
    seed: Annotated[int | None, typer.Option(help="Varies targets, intensity and timing; default: any.")] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Several seeds: each fault once with each.")
    ] = None,
    decoys: Annotated[int, typer.Option(min=0, max=20, help="True but unrelated events in each round.")] = 0,
    healthy: Annotated[int, typer.Option(min=0, max=100, help="Rounds in which nothing is broken.")] = 3,
    anew: Annotated[bool, typer.Option("--anew", help="Begin again where one was cut off.")] = False,
    page: Annotated[bool, typer.Option("--page", help="At the end, write docs/gameday.md.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Break everything that can break, let the playbooks run, and score what they name and what their plans do.

    One that was cut off goes on where it was when the same is asked for again.
    """
    from sandbox.gameday import GameDay, results, stage
    from sandbox.gameday.rounds import chosen, in_order, platform_of, playable

    settings = Settings()
    numbers = _seeds(seed, seeds)
    if page and not (PROJECT / "docs" / "gameday.md").is_file():
        raise typer.BadParameter("there is no docs/gameday.md to write: it needs a checkout", param_hint="--page")
    names = chosen(playable(pairs=pairs, unlisted=unlisted), only)
    asked = {
        "only": only,
        "seeds": numbers or [random.SystemRandom().randrange(1_000_000)],
        "any_seed": not numbers,
        "decoys": decoys,
        "healthy": healthy,
        "faults": names,
        "code": results.code(settings),
    }
    kept = results.begin(stage.folder(settings) / "results.json", asked, anew=anew)
    of_platform = {name: platform_of(name) for name in names}
    planned = in_order(of_platform, seeds=kept.asked["seeds"], healthy=healthy)
    playbooks = sorted({(platform, name.partition("/")[0]) for name, platform in of_platform.items()})
    waiting = [one for one in planned if one.name not in kept.rounds]
    with _progress(len(planned)) as line:
        if len(waiting) < len(planned):
            line.note(f"going on with the game day of {kept.begun_at}; --anew begins again")
        on = sorted(set(of_platform.values()))
        signal.signal(signal.SIGTERM, _leave)  # what was started is ended, as at an interrupt
        with stage.stage(settings, on, line.tell) as desk:
            desk.forget(on)
            day = GameDay(settings, desk, kept, decoys, line.tell)
            for place, one in enumerate(waiting):
                line.round(one.name, len(planned) - len(waiting) + place, _left_s(kept, waiting[place:]))
                day.play(one, playbooks)
                line.note(_outcome(kept.rounds[one.name]))
    kept.ended = True
    kept.save()
    document = _document(settings, kept, planned)
    if page:
        from sandbox.gameday import report

        report.publish(PROJECT / "docs", [document])
    _tell(document, json_)


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(1)


def _seeds(seed: int | None, seeds: str | None) -> list[int]:
    """The seeds that were asked for, without those that come twice; none: any."""
    if seed is not None and seeds is not None:
        raise typer.BadParameter("give either --seed or --seeds", param_hint="--seeds")
    if seeds is None:
        return [] if seed is None else [seed]
    words = seeds.replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise typer.BadParameter(f"{seeds!r} is not a list of numbers, such as 1,2,3", param_hint="--seeds")
    return list(dict.fromkeys(map(int, words)))


def _left_s(kept: Any, waiting: list[Any]) -> float:
    """How long the rounds that wait will take, by how long those of their kind took [s]."""
    took: dict[bool, list[float]] = {True: [], False: []}
    for told in kept.rounds.values():
        if not told["problem"]:
            took["fault" in told].append(float(told["took_s"]))
    usual = {kind: sum(some) / len(some) if some else _GUESS_S[kind] for kind, some in took.items()}
    return sum(usual[one.fault is not None] for one in waiting)


def _outcome(told: dict[str, Any]) -> str:
    """A round in one line."""
    from sandbox.gameday.scoreboard import words

    if "fault" not in told:
        calm = "no false alarm" if not told["false_alarms"] else f"{told['false_alarms']} FALSE ALARMS"
        return f"{told['round']}: {told['problem'] or calm}"
    if told["missing"]:
        return f"{told['round']}: missing, {told['problem']}"
    named = f"named {words(told['named'])}" + ("" if told["correct"] else f" instead of {words(told['expected'])}")
    times = "" if told["verdict_s"] is None else f", verdict {told['verdict_s']:.1f} s after the alert"
    mended = "" if told["recovery_s"] is None else f", mended within {told['recovery_s']:.0f} s"
    return f"{told['round']}: {named}{times}{mended}" + (f" ({told['problem']})" if told["problem"] else "")


def _document(settings: Settings, kept: Any, planned: list[Any]) -> dict[str, Any]:
    """What `--json` prints; the scoreboard is written."""
    from sandbox.gameday import scoreboard, stage, summary

    played: dict[str, list[dict[str, Any]]] = {kind: [] for kind in ("faults", "pairs", "unlisted", "healthy")}
    for one in planned:
        kind = (
            "healthy" if one.fault is None else "unlisted" if one.unlisted else "pairs" if one.faults[1:] else "faults"
        )
        played[kind].append(kept.rounds[one.name])
    board: Path = stage.folder(settings) / "scoreboard.html"
    asked = {name: kept.asked[name] for name in ("only", "seeds", "decoys")}
    document: dict[str, Any] = {
        "summary": {**summary(**played), **asked, "begun_at": kept.begun_at, "scoreboard": str(board)},
        **played,
    }
    scoreboard.write(board, document)
    return document


def _tell(document: dict[str, Any], json_: bool) -> None:
    """Print the result."""
    from sandbox.gameday.scoreboard import words

    if json_:
        print_json(document)
        return
    told = document["summary"]
    rows = [
        (
            one["round"],
            "yes" if one["correct"] else "MISSING" if one["missing"] else "NO",
            words(one["named"], "-"),
            _seconds(one["alert_s"]),
            _seconds(one["verdict_s"]),
            _seconds(one["recovery_s"]),
            "yes" if one["plan_ok"] else "no",
            one["problem"] or "",
        )
        for kind in ("faults", "pairs", "unlisted")
        for one in document[kind]
    ]
    print_table(["fault", "right", "named", "alert [s]", "verdict [s]", "mended [s]", "plan", "problem"], rows)
    verdict = "-" if told["median_verdict_s"] is None else f"{told['median_verdict_s']:.1f} s"
    brier = "-" if told["brier"] is None else f"{told['brier']:.3f}"
    say(
        f"{told['correct']} of {told['n']} named, {told['missing']} without a playbook; {told['pairs_correct']} of "
        f"{told['pairs']} pairs; {told['unlisted_correct']} of {told['unlisted']} unlisted; {told['false_alarms']} "
        f"false alarms in {told['healthy']} healthy rounds; median verdict {verdict} after the alert; "
        f"{told['plans_ok']} plans as needed, {told['harmful']} harmful; Brier score {brier}; "
        f"seeds {', '.join(map(str, told['seeds']))}"
    )
    out.print(f"Scoreboard  {told['scoreboard']}", markup=False)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


class _Line:
    """What the person who waits is told: a line that moves on a terminal, plain lines elsewhere."""

    def __init__(self, total: int, show: Progress, note: Progress) -> None:
        self._total = total
        self._show = show
        self.note = note
        self._head = ""
        self._said: tuple[str, str] | None = None
        self._ends = 0.0

    def round(self, name: str, played: int, left_s: float) -> None:
        """A round begins."""
        self._head = f"round {played + 1} of {self._total}, {name}"
        self._ends = time.monotonic() + left_s

    def tell(self, message: str) -> None:
        """Something goes on; the same is said once."""
        if (self._head, message) == self._said:
            return
        self._said = (self._head, message)
        if not self._head:
            self._show(message)
            return
        left = max(0.0, self._ends - time.monotonic())
        about = f"about {left / 60:.0f} min" if left > 90 else "less than two minutes"
        self._show(f"{self._head}: {message} ({about} left)")


@contextmanager
def _progress(total: int) -> Iterator[_Line]:
    def note(text: str) -> None:
        err.print(printable(text), markup=False)

    if not err.is_terminal:
        yield _Line(total, note, note)
        return
    with err.status("...") as spinner:
        yield _Line(total, lambda message: spinner.update(escape(printable(message))), note)
