"""kill -9 of every process of the tree in the middle of its work: no alert is lost, and no record lies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from opslib import web
from opslib.runs import descendants
from opslib.settings import PROJECT
from tests.acceptance.conftest import Installation, firing

pytestmark = pytest.mark.acceptance

WITHIN_S = 60.0
CAUSE = "single-symbol"
SYMBOL = "SOL-USD"
ENDED = {"succeeded", "failed", "timed-out", "cancelled", "kernel-died", "lost"}
_numbers = count(1)


class Tree(Installation):
    """A tree that is served, on a broken platform, with a stretch in the middle of the runbook in which to be hit.

    Runs that begin once one is there do without the stretch: they are to end, not to be hit.
    """

    delivered = 0

    def prepare(self) -> None:
        """Notebooks of its own."""
        notebooks = self.home.parent / "notebooks"
        shutil.copytree(PROJECT / "notebooks", notebooks)
        self.environment["RUNBOOK_NOTEBOOKS"] = str(notebooks)

    def begin_plainly(self) -> None:
        """Runs that begin from now on do not dwell."""
        self._replace((PROJECT / "notebooks" / "alerts" / "var-breach.ipynb").read_text("utf-8"))

    def begin_dwelling(self) -> None:
        """VarBreach dwells before its verdict, in runs that begin from now on."""
        document = json.loads((PROJECT / "notebooks" / "alerts" / "var-breach.ipynb").read_text("utf-8"))
        place = next(number for number, cell in enumerate(document["cells"]) if cell["id"] == "verdict-heading")
        dwell = {
            "cell_type": "code",
            "id": "dwell",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": "import time\n\ntime.sleep(5)",
        }
        document["cells"].insert(place, dwell)
        self._replace(json.dumps(document))

    def _replace(self, text: str) -> None:
        path = self.home.parent / "notebooks" / "alerts" / "var-breach.ipynb"
        fresh = path.with_suffix(".part")
        fresh.write_text(text, "utf-8")
        fresh.replace(path)

    def status(self) -> dict[str, Any]:
        """What the platform says of itself."""
        facts = json.loads((self.settings.state / "sandbox" / "crypto.json").read_text("utf-8"))
        return dict(web.get(f"{facts['endpoints']['api']}/api/status", timeout=5).json())

    def broken(self) -> None:
        """Break the platform anew: its series reach back five minutes, and have to show how it was before."""
        self.runbook("sandbox", "heal")
        self.runbook("sandbox", "break", f"var-breach/{CAUSE}", "--seed", "2")

    def alerted(self) -> str:
        """The incident of a new alert; sent again until it is taken, as Alertmanager does."""
        alert = firing(SYMBOL, replica=f"p-{next(_numbers)}")

        def taken() -> str | None:
            try:
                answer = self.deliver(alert)
            except httpx.TransportError:
                return None
            return str(answer.json()["incidents"][0]) if answer.status_code == 200 else None

        incident = str(self.wait("the alert to be taken", taken, WITHIN_S))
        self.delivered += 1
        return incident

    def ask(self, incident: str) -> dict[str, Any]:
        """An incident over HTTP; empty while the server or its store is away."""
        try:
            answer = web.get(f"{self.url}/api/v1/incidents/{incident}", headers=self.as_person(), timeout=10)
        except httpx.TransportError:
            return {}
        return dict(answer.json()) if answer.status_code == 200 else {}

    def as_person(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token('demo-l1')}"}

    def in_the_middle(self) -> str:
        """The incident of an alert whose run has reached the stretch in the middle."""
        self.begin_dwelling()
        incident = self.alerted()

        def reached() -> bool:
            return any(
                entry["kind"] == "cell-started" and entry["body"]["cell_id"] == "dwell"
                for entry in self.ask(incident).get("timeline", [])
            )

        self.wait(f"the middle of the run of {incident}", reached, WITHIN_S)
        self.begin_plainly()
        return incident

    def one(self, *words: str) -> int:
        """The one process that these words name."""
        (process,) = self.pids(*words)
        return process

    def runtime_pids(self, *words: str) -> list[int]:
        """Processes that work in the runtime folder of this home, kernels among them."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if str(self.settings.runtime) in command and all(word in command for word in words):
                found.append(int(entry.name))
        return sorted(found)

    def settled(self, incident: str) -> list[dict[str, Any]]:
        """The runs of an incident, once each has ended, its record is sealed and every alert is accounted for."""

        def seen() -> list[dict[str, Any]] | None:
            runs = self.ask(incident).get("runs", [])
            over = runs and all(run["state"] in ENDED for run in runs)
            again = over and runs[-1]["state"] == "lost" and runs[-1]["attempt"] == 1
            return list(runs) if over and not again else None

        runs: list[dict[str, Any]] = self.wait(f"the end of every run of {incident}", seen, WITHIN_S)
        ledger = web.get(f"{self.url}/api/v1/ledger", headers=self.as_person(), timeout=10).json()
        assert ledger["accepted"] == self.delivered
        assert ledger["run"] + ledger["waiting"] + ledger["suppressed"] + ledger["lost"] == ledger["accepted"]
        assert (ledger["waiting"], ledger["lost"]) == (0, 0), ledger
        self.wait("the seals", self.intact, WITHIN_S)
        self.truthful(incident)
        return runs

    def intact(self) -> bool:
        """Whether every record is sealed up to its end."""
        told = self.runbook("verify", "--json", expect=None)
        report = json.loads(told.stdout)
        return told.returncode == 0 and {one["state"] for one in report["incidents"]} == {"intact"}

    def truthful(self, incident: str) -> None:
        """Each run ended once, and says of itself in journal, row and notebook the same."""
        shown = self.ask(incident)
        for run in shown["runs"]:
            told = [
                entry["body"]["state"]
                for entry in shown["timeline"]
                if entry["kind"] == "run-ended" and entry["body"]["run"] == run["id"]
            ]
            if run["mode"] == "apply":
                continue
            assert told == [run["state"]]
            page = (self.home / run["record"]).with_suffix(".html")
            notebook = json.loads((self.home / run["record"]).read_text("utf-8"))
            assert notebook["metadata"]["run"]["state"] == run["state"]
            code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
            statuses = [cell["metadata"].get("runbook", {}).get("status") for cell in code]
            assert (set(statuses) == {"succeeded"}) == (run["state"] == "succeeded"), statuses
            assert "running" not in statuses
            assert page.is_file()

    def answered(self, incident: str, *states: str) -> None:
        """The runs ended in these states, and the last of them, which succeeded, names the right cause."""
        runs = self.settled(incident)
        assert [run["state"] for run in runs] == list(states), runs
        assert runs[-1]["verdict"]["cause"] == CAUSE
        assert runs[-1]["verdict"]["confirmed"] is True

    def gone(self, processes: list[tuple[int, int]]) -> None:
        """Nothing is left of these processes."""
        self.wait(
            f"the end of {processes}",
            lambda: all(descendants.birth(number) != born for number, born in processes),
            WITHIN_S,
        )

    def kernels_gone(self) -> None:
        """No kernel is left, and no folder of one."""
        self.wait("the end of the kernels", lambda: not self.kernels(), WITHIN_S)

    def kernels(self) -> list[int]:
        """The guard and the kernel of each run, but not those that wait for one."""
        every = self.runtime_pids("opslib.runs.confined")
        parked = self.runtime_pids("opslib.runs.confined", "--parked")
        waiting = {*parked, *(below for guard in parked for below in descendants.below(guard))}
        return [process for process in every if process not in waiting]


def tree_of(process: int) -> list[tuple[int, int]]:
    """A process and all below it, each with its birth; what ended while this looked is none of them."""
    born = ((number, descendants.birth(number)) for number in (process, *descendants.below(process)))
    return [(number, birth) for number, birth in born if birth is not None]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """One tree for all the kills: what survives the one has to survive the next."""
    tree = Tree(tmp_path_factory.mktemp("kills") / "home")
    tree.prepare()
    try:
        tree.serve()
        tree.runbook("sandbox", "up", "crypto", "--no-monitoring")
        yield tree
        tree.stop_service()
        tree.wait("the removal of scratch folders", lambda: not list(tree.settings.runtime.glob("kernel-*")), WITHIN_S)
    finally:
        tree.end()
    assert tree.pids() == []
    assert tree.runtime_pids() == []


@pytest.fixture
def tree(planted: Tree) -> Iterator[Tree]:
    """The tree, ready, on a broken platform; the incidents of the test are resolved afterwards."""
    if planted.service is None or planted.service.poll() is not None:
        planted.serve()
    planted.wait("the service", planted.ready)
    planted.broken()
    yield planted
    address = f"{planted.url}/api/v1/incidents"
    for one in web.get(address, headers=planted.as_person(), timeout=10).json()["incidents"]:
        if one["state"] != "resolved":
            answer = web.post(f"{address}/{one['id']}/resolve", headers=planted.as_person(), timeout=10)
            assert answer.status_code == 200


def kill(process: int) -> list[tuple[int, int]]:
    """SIGKILL to a process; what it was and had below it."""
    hit = tree_of(process)
    os.kill(process, signal.SIGKILL)
    return hit


def test_worker(tree: Tree) -> None:
    incident = tree.in_the_middle()
    hit = kill(tree.one("main()", "worker"))
    tree.answered(incident, "lost", "succeeded")
    tree.gone(hit)
    tree.kernels_gone()


def test_process_of_the_run(tree: Tree) -> None:
    incident = tree.in_the_middle()
    hit = kill(tree.one("opslib.runs.run"))
    tree.answered(incident, "lost", "succeeded")
    tree.gone(hit)
    tree.kernels_gone()


@pytest.mark.parametrize("place", [0, -1], ids=["first", "second"])
def test_kernel(tree: Tree, place: int) -> None:
    incident = tree.in_the_middle()
    hit = kill(tree.kernels()[place])
    (run,) = tree.settled(incident)
    assert run["state"] == "kernel-died"
    assert "SIGKILL" in run["error"]
    assert run["verdict"] is None
    tree.gone(hit)
    tree.kernels_gone()


def test_recorder(tree: Tree) -> None:
    incident = tree.in_the_middle()
    hit = kill(tree.one("opslib.record.recorder"))
    tree.answered(incident, "lost", "succeeded")
    tree.gone(hit)


def test_server(tree: Tree) -> None:
    incident = tree.in_the_middle()
    hit = kill(tree.one("opslib.server"))
    assert tree.alerted() == incident
    runs = tree.settled(incident)  # the later alert has a run of its own where it came after the end of the first
    tree.answered(incident, *["succeeded"] * min(len(runs), 2))
    tree.gone(hit)


def test_signer_in_the_run_and_while_it_seals(tree: Tree) -> None:
    incident = tree.in_the_middle()
    hit = kill(tree.one("opslib.record.signer"))
    tree.wait("the end of the run", lambda: tree.ask(incident)["runs"][0]["state"] in ENDED, WITHIN_S)
    for _ in range(10):
        for process in tree.pids("opslib.record.signer"):
            os.kill(process, signal.SIGKILL)
        time.sleep(0.05)
    tree.answered(incident, "succeeded")
    tree.gone(hit)


def test_applier_in_the_middle_of_an_apply(tree: Tree) -> None:
    incident = tree.alerted()
    tree.answered(incident, "succeeded")
    plan = tree.show(incident)["plans"][0]["hash"]
    for step in ("approve", "apply"):
        address = f"{tree.url}/api/v1/plans/{plan}/{step}"
        assert web.post(address, json={}, headers=tree.as_person(), timeout=20).status_code == 200
    tree.wait("the apply", lambda: tree.ask(incident)["plans"][0]["state"] == "applying", WITHIN_S)
    hit = kill(tree.one("opslib.actions.applier"))
    tree.wait("the end of the plan", lambda: ended_plan(tree.ask(incident)), WITHIN_S)
    shown = tree.show(incident)
    (run,) = (run for run in shown["runs"] if run["mode"] == "apply")
    (end,) = (entry["body"] for entry in shown["timeline"] if entry["kind"] == "apply-ended")
    steps = end["result"]["steps"]
    assert len(steps) <= 1
    assert end["state"] == shown["plans"][0]["state"]
    if end["state"] == "verified":
        assert run["state"] == "succeeded"
        assert steps[0]["state"] == "done"
        assert tree.status()["kelly_fraction"] <= 0.1
    else:
        assert run["state"] == "failed"
        assert shown["plans"][0]["reason"]
    tree.wait("the seals", tree.intact, WITHIN_S)
    tree.gone(hit)


def ended_plan(shown: dict[str, Any]) -> bool:
    return bool(shown) and shown["plans"][0]["state"] in ("verified", "partial", "failed")


@pytest.mark.parametrize("also_supervisor", [False, True], ids=["server", "server-and-supervisor"])
def test_postgresql(tree: Tree, also_supervisor: bool) -> None:
    incident = tree.in_the_middle()
    postmaster = int((tree.settings.state / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
    hit = [*kill(tree.one("opslib.store.supervisor")), *kill(postmaster)] if also_supervisor else kill(postmaster)
    tree.answered(incident, "succeeded")
    tree.gone(hit)


def test_whole_tree_in_the_middle_of_a_run(tree: Tree) -> None:
    incident = tree.in_the_middle()
    killed_and_served_again(tree)
    tree.answered(incident, "lost", "succeeded")
    tree.kernels_gone()


def test_whole_tree_as_soon_as_an_alert_is_taken(tree: Tree) -> None:
    tree.begin_dwelling()
    incident = tree.alerted()
    killed_and_served_again(tree)
    runs = tree.settled(incident)
    assert runs[-1]["state"] == "succeeded"
    assert runs[-1]["verdict"]["cause"] == CAUSE


def killed_and_served_again(tree: Tree) -> None:
    """Kill `runbook serve`; nothing of it is left but the store, which outlives it; start it again."""
    assert tree.service is not None
    stays = {one for supervisor in tree.pids("opslib.store.supervisor") for one in tree_of(supervisor)}
    hit = kill(tree.service.pid)
    tree.service.wait()
    tree.gone([one for one in hit if one not in stays])
    tree.serve()


def test_run_that_a_person_cancels(tree: Tree) -> None:
    incident = tree.in_the_middle()
    said = tree.runbook("cancel", incident, "--text", "wrong platform", "--as", "demo-l1").stdout
    assert f"1 run of {incident} asked to end." in said
    (run,) = tree.settled(incident)
    assert run["state"] == "cancelled"
    assert "demo-l1 cancelled the run (wrong platform)" in run["error"]
    assert run["verdict"] is None
    tree.kernels_gone()
    said = tree.runbook("cancel", incident, "--as", "demo-l1").stdout
    assert f"0 runs of {incident} asked to end." in said
