"""A storm of alerts while workers, server and PostgreSQL are killed in the middle of it: what becomes of each alert."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import quantiles
from typing import Any

import httpx
import psycopg

from bench.service import TOKEN, Service, firing, serving
from bench.timing import Row, report
from opslib import intake, store, web
from opslib.errors import StoreError
from opslib.record.verify import Report, verify
from opslib.runs import descendants

CELLS = ("print('looked')", "total = sum(range(1000))\nprint(total)")
SENDERS = 4
_AGAIN_S = 0.25
_UP_AGAIN_S = 120.0


@dataclass(frozen=True)
class Plan:
    """What comes in, and what is killed meanwhile.

    Attributes
    ----------
    distinct, repeats, group : int
        Alerts, how often one of them comes again, and how many lie in a body.
    over_s : float
        The time over which the bodies are sent [s].
    workers_killed : int
        Beside one kill of the server and one restart of PostgreSQL.
    settle_s : float
        How long the runs may take afterwards [s].
    """

    distinct: int = 1000
    repeats: int = 2000
    group: int = 10
    over_s: float = 60.0
    workers_killed: int = 5
    settle_s: float = 1800.0
    seed: int = 4


@dataclass
class Outcome:
    """What became of it.

    Attributes
    ----------
    posts_ms : list of float
        How long each POST took that was taken, while the database was up [ms].
    again : int
        POSTs that had to be sent again.
    given_up : int
        Bodies that were never taken.
    totals : dict
        The ledger.
    twice : int
        Runs that began or ended twice, and alerts that two runs answered that were not lost.
    mistakes : list of str
        What the ledger's invariants found.
    altered : list of str
        What the verifier has against the records.
    settled_s : float
        From the first POST to the end of the last run [s].
    """

    posts_ms: list[float] = field(default_factory=list)
    again: int = 0
    given_up: int = 0
    totals: dict[str, int] = field(default_factory=dict)
    twice: int = 0
    mistakes: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    settled_s: float = 0.0


class Storm:
    """Sends a plan's bodies to a service and kills parts of it.

    Parameters
    ----------
    service : Service
        It is up.
    plan : Plan
    """

    def __init__(self, service: Service, plan: Plan) -> None:
        self.service, self.plan = service, plan
        self.chance = random.Random(plan.seed)
        self.outcome = Outcome()
        self.away: tuple[float, float] = (float("inf"), float("inf"))
        self._lock = threading.Lock()
        self._bodies = self._made()

    def run(self) -> Outcome:
        """The whole storm, until every run has ended and every record is sealed."""
        self._begun = time.monotonic()
        senders = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        self._strike()
        for sender in senders:
            sender.join()
        self._settle()
        return self.outcome

    def _made(self) -> list[list[dict[str, Any]]]:
        """The bodies: each alert for the first time before it comes again."""
        first = list(range(self.plan.distinct))
        numbers = [*first, *self.chance.choices(first, k=self.plan.repeats)]
        self.chance.shuffle(numbers)
        alerts = [_alert(number) for number in numbers]
        return [alerts[at : at + self.plan.group] for at in range(0, len(alerts), self.plan.group)]

    def _send(self, sender: int) -> None:
        """Every SENDERS-th body at its time, each until it is taken, on one connection."""
        with web.client(timeout=10) as client:
            for number in range(sender, len(self._bodies), SENDERS):
                due = self._begun + self.plan.over_s * number / len(self._bodies)
                time.sleep(max(0.0, due - time.monotonic()))
                while not self._post(client, self._bodies[number]):
                    if time.monotonic() > due + _UP_AGAIN_S:
                        self.outcome.given_up += 1
                        break
                    time.sleep(_AGAIN_S)

    def _post(self, client: httpx.Client, alerts: list[dict[str, Any]]) -> bool:
        began = time.monotonic()
        try:
            answer = client.post(
                f"http://127.0.0.1:{self.service.port}/api/v1/alerts",
                json={"version": "4", "status": "firing", "receiver": "bench", "alerts": alerts},
                headers={"authorization": f"Bearer {TOKEN}"},
            )
            taken = answer.is_success
        except httpx.TransportError:
            taken = False
        ended = time.monotonic()
        with self._lock:
            self.outcome.again += not taken
            if taken and not (began < self.away[1] and ended > self.away[0]):
                self.outcome.posts_ms.append(1000 * (ended - began))
        return taken

    def _strike(self) -> None:
        """Kill what the plan says, spread over the time of sending."""
        kills: list[Callable[[], None]] = [self._kill_worker] * self.plan.workers_killed
        kills += [self._kill_server, self._restart_postgresql]
        self.chance.shuffle(kills)
        for number, kill in enumerate(kills, start=1):
            time.sleep(max(0.0, self._begun + self.plan.over_s * number / (len(kills) + 1) - time.monotonic()))
            kill()

    def _children(self, *words: str) -> list[int]:
        assert self.service.process is not None
        named = set.intersection(*(set(descendants.named(word)) for word in words))
        return [number for number in descendants.below(self.service.process.pid) if number in named]

    def _kill_worker(self) -> None:
        workers = _until(lambda: self._children("opslib.cli", "worker"))
        os.kill(self.chance.choice(workers), signal.SIGKILL)

    def _kill_server(self) -> None:
        for server in _until(lambda: self._children("opslib.server"))[:1]:
            os.kill(server, signal.SIGKILL)

    def _restart_postgresql(self) -> None:
        """As `pg_ctl restart -m fast` does it; its supervisor starts it again."""
        pid = self.service.settings.state / "postgres" / "data" / "postmaster.pid"
        self.away = (time.monotonic(), float("inf"))
        os.kill(int(pid.read_text().splitlines()[0]), signal.SIGINT)
        time.sleep(0.2)
        _until(self._up)
        self.away = (self.away[0], time.monotonic() + 1.0)

    def _up(self) -> bool:
        try:
            with store.connect(self.service.settings) as connection:
                connection.execute("SELECT")
        except (StoreError, psycopg.Error):
            return False
        return True

    def _settle(self) -> None:
        """Wait for the last run, then count."""
        settings = self.service.settings

        def left() -> int:
            row = _ask(settings, "SELECT count(*) AS n FROM runs WHERE state IN ('waiting', 'running')")
            return int(row["n"])

        _until(lambda: left() == 0, self.plan.settle_s)
        self.outcome.settled_s = time.monotonic() - self._begun
        _until(
            lambda: _ask(settings, "SELECT count(*) AS n FROM incidents WHERE journal_seq > sealed_seq")["n"] == 0, 300
        )
        with store.transaction(settings) as connection:
            self.outcome.totals = intake.totals(connection)
            self.outcome.mistakes = intake.mistakes(connection)
        began = _ask(
            settings,
            "SELECT count(*) AS n FROM (SELECT FROM journal "
            "WHERE line::jsonb ->> 'kind' IN ('run-started', 'run-ended') "
            "GROUP BY incident, line::jsonb -> 'body' ->> 'run', line::jsonb ->> 'kind' HAVING count(*) > 1) AS each",
        )
        answered = _ask(
            settings,
            "SELECT count(*) AS n FROM (SELECT FROM runs WHERE state <> 'lost' AND requested_by = 'alert' "
            "GROUP BY incident HAVING count(*) > 1) AS each",
        )
        self.outcome.twice = int(began["n"]) + int(answered["n"])
        found = _until(self._verified)
        wrong = [*found.log, *(problem for report in found.incidents for problem in report.problems)]
        self.outcome.altered = [f"{problem.file} {problem.reason}" for problem in wrong]

    def _verified(self) -> Report | None:
        """What the verifier says, once no record is being closed any more."""
        found = verify(self.service.settings.home)
        return None if any(report.state == "open" for report in found.incidents) else found


def _ask(settings: Any, statement: str) -> dict[str, Any]:
    with store.connect(settings) as connection:
        return dict(connection.execute(statement).fetchone() or {})


def _alert(number: int) -> dict[str, Any]:
    severity = ("critical", "high", "warning", "info")[number % 4]
    return firing(datetime.now(UTC), alertname="Heavy", platform="bench", severity=severity, number=str(number))


def _until(so: Callable[[], Any], within_s: float = _UP_AGAIN_S) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := so()):
        if time.monotonic() > deadline:
            raise RuntimeError("it did not come to be")
        time.sleep(0.1)
    return found


def storm(plan: Plan) -> Outcome:
    """A storm on a service of its own, with two workers."""
    with serving(CELLS, workers=2) as service:
        return Storm(service, plan).run()


def rows() -> list[Row]:
    """Answers, accounts, and what was run twice or altered."""
    plan = Plan()
    found = storm(plan)
    totals = found.totals
    accounted = sum(totals[name] for name in intake.OUTCOMES)
    p99 = quantiles(found.posts_ms, n=100)[-1]
    told = f"{len(found.posts_ms)} bodies, {found.again} sent again; {found.settled_s:.0f} s to the last run"
    wrong = len(found.mistakes) + found.twice + found.given_up + len(found.altered)
    counted = f"{found.twice} twice, {found.given_up} never taken, {len(found.altered)} altered"
    why = "; ".join([counted, *found.mistakes, *found.altered[:5]])
    outcomes = ", ".join(f"{totals[name]} {name}" for name in intake.OUTCOMES)
    lost = "those whose answer was lost came again"
    sent = plan.distinct
    repeats, ratio = totals["repeats"], 250.0 / p99
    return [
        Row("POST of 10 alerts, p99 while the database was up", p99, 250.0, "bound", "ms", ratio, None, told),
        Row("alerts accounted for", accounted, sent, "sent", "alerts", accounted / sent, None, outcomes),
        Row("repeats counted", repeats, plan.repeats, "sent", "alerts", repeats / plan.repeats, None, lost),
        Row("run twice, altered, or against the ledger", wrong, 0, "bound", "", float(wrong == 0), None, why),
    ]


if __name__ == "__main__":
    report("storm", rows)
