"""Whatever a stranger sends over HTTP stays data: nothing is executed, escapes the home, or makes a record lie."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from opslib import web
from opslib.settings import PROJECT
from tests.acceptance.conftest import RUNBOOK, Installation, firing

pytestmark = pytest.mark.acceptance

MARKUP = '<script>alert(1)</script><img src=x onerror=alert(1)><a href="javascript:alert(1)">x</a>'
FULL_DISK = Path(__file__).with_name("full_disk.sh")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation for all that is delivered, with parameter files of its own."""
    place = tmp_path_factory.mktemp("hostile")
    shutil.copytree(PROJECT / "params", place / "params")
    installation = Installation(place / "home")
    installation.environment["RUNBOOK_PARAMS"] = str(place / "params")
    try:
        installation.serve()
        installation.runbook("sandbox", "up", "crypto", "--no-monitoring")
        yield installation
    finally:
        installation.end()
    assert {entry.name for entry in place.iterdir()} == {"home", "params", "serve.log"}


def raw(installation: Installation, body: bytes, endpoint: str = "v1") -> httpx.Response:
    """A body as it stands, sent again while the service says so."""
    headers = {"authorization": f"Bearer {installation.intake_token}", "content-type": "application/json"}

    def answered() -> httpx.Response | None:
        answer = web.post(f"{installation.url}/api/{endpoint}/alerts", content=body, headers=headers, timeout=30)
        return None if answer.status_code == 503 else answer

    answer = installation.wait("an answer", answered)
    assert isinstance(answer, httpx.Response)
    return answer


def webhook(*alerts: dict[str, Any]) -> bytes:
    """A webhook's body, everything that is not ASCII as an escape: lone surrogates too."""
    return json.dumps({"version": "4", "status": "firing", "receiver": "r", "alerts": alerts}).encode("ascii")


def hostile(labels: dict[str, str], **more: Any) -> dict[str, Any]:
    return {**firing(), "labels": labels, **more}


def ended(installation: Installation, incidents: list[str]) -> dict[str, dict[str, Any]]:
    """The incidents, once every run of each has ended, every alert is accounted for and every record is sealed.

    There is more than one run where a run could not tell what is the case and was looked at again meanwhile.
    """

    def over() -> dict[str, dict[str, Any]] | None:
        seen, waiting = {name: installation.show(name) for name in incidents}, {"waiting", "running"}
        ended = all(waiting.isdisjoint(run["state"] for run in one["runs"]) for one in seen.values())
        return seen if ended else None

    shown: dict[str, dict[str, Any]] = installation.wait(f"the runs of {incidents}", over)
    ledger = installation.json("alerts")
    assert ledger["run"] + ledger["waiting"] + ledger["suppressed"] + ledger["lost"] == ledger["accepted"]
    assert ledger["lost"] == 0
    installation.wait("the seals", lambda: installation.verified(*incidents[:1]) and installation.verified())
    return shown


class Harmless(HTMLParser):
    """Finds what a page must not have."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "base", "form"):
            self.wrong.append(tag)
        for name, value in attrs:
            if name.startswith("on") or (value or "").strip().lower().startswith(("javascript:", "http:", "//")):
                self.wrong.append(f"{tag} {name}={value}")
            if name == "src" and not (value or "").startswith("data:"):
                self.wrong.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        self.text += data


def examined(installation: Installation, run: dict[str, Any], canary: Path) -> dict[str, Any]:
    """The alert as the notebook of a run has it: one literal, and in no other code; its page is harmless."""
    path = installation.home / run["record"]
    assert path.resolve().is_relative_to(installation.home)
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (injected,) = [text for text in code if canary.name in text or "# Parameters\n" in text]
    values = {}
    for node in ast.parse(injected).body:
        assert isinstance(node, ast.Assign)
        (name,) = node.targets
        assert isinstance(name, ast.Name)
        values[name.id] = ast.literal_eval(node.value)
    page = Harmless(path.with_suffix(".html").read_text("utf-8"))
    assert page.wrong == []
    alert: dict[str, Any] = values["alert"]
    return alert


def test_labels_and_names_that_are_code_markup_or_paths(served: Installation, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    touch = f"touch {canary}"
    code = f"__import__('os').system('{touch}')"
    values = f'\'; {code}; \'"""\n{code}\n#}}}}{{{{ {code} }}}} {{% {touch} %}} $({touch}) `{touch}` ../../../{canary}'
    names = {
        code: code,
        "{x}": "{x.__class__.__mro__}",
        "{{x}}": "{{ self.__init__.__globals__ }}",
        f"$({touch})": f"$({touch})",
        f"`{touch}`": f"; {touch}",
        "../../../../etc/cron.d/x": "../../../../etc/passwd",
        "a\nb\r\nc": "\r\nSet-Cookie: x=1\r\n",
        "nul\x00name": "nul\x00value",
        "\ud800": "\ud800 alone \udfff",
        "'": '"',
        MARKUP: MARKUP,
        "alert": code,
        "platform ": "x",
        "__class__": "x",
    }
    large = {f"n{'n' * 2**20}": "v" * 2**20}
    sent = [
        hostile({"alertname": "VarBreach", "platform": "crypto", "severity": "critical", "symbol": values}),
        hostile({"alertname": MARKUP, "platform": MARKUP, **names, **large}, annotations={"summary": MARKUP, **names}),
        hostile({}, annotations={}, generatorURL=MARKUP),
        hostile({"alertname": f"../../{canary}", "platform": "../../etc"}, fingerprint=f"../../{canary}"),
    ]
    answer = raw(served, webhook(*sent))
    assert answer.status_code == 200
    incidents = answer.json()["incidents"]
    assert len(incidents) == len(sent)
    shown = ended(served, incidents)
    assert not canary.exists()
    assert list(tmp_path.iterdir()) == []
    assert {run["state"] for one in shown.values() for run in one["runs"]} == {"succeeded"}
    assert {one["platform"] for one in shown.values()} == {"crypto", "unknown"}
    alerts = {}
    for incident, one in shown.items():
        (delivered,) = one["alerts"]
        for run in one["runs"]:
            alerts[incident] = examined(served, run, canary)
            assert alerts[incident]["labels"] == delivered["labels"]
    labels = [alert["labels"] for alert in alerts.values()]
    assert any(found.get("symbol") == values for found in labels)
    assert any(found.get(code) == code and found.get("\ufffd") == "\ufffd alone \ufffd" for found in labels)
    assert {} in labels
    assert max(len(text) for found in labels for pair in found.items() for text in pair) < 5000
    folders = {entry.name for day in served.home.iterdir() if day.name[0] == "2" for entry in day.iterdir()}
    assert all(name.startswith("INC-") for name in folders)
    with_markup = next(name for name, alert in alerts.items() if alert["labels"].get("alertname") == MARKUP)
    shows_as_text(served, with_markup)


def shows_as_text(installation: Installation, incident: str) -> None:
    """The console's pages have the markup of a label as text."""
    with web.client(base_url=installation.url, follow_redirects=True, timeout=20) as visitor:
        form = visitor.get("/sign-in").text
        key = form.split('name="form_key" value="', 1)[1].split('"', 1)[0]
        data = {"token": installation.token("demo-l1"), "form_key": key}
        assert visitor.post("/sign-in", data=data, headers={"origin": installation.url}).status_code == 200
        for path in ("/", f"/incidents/{incident}"):
            answer = visitor.get(path)
            assert answer.status_code == 200
            assert "<script>alert" not in answer.text
            assert "<img src=x" not in answer.text
            assert "<script>alert(1)</script>" in Harmless(answer.text).text
            policy = answer.headers["content-security-policy"]
            assert "unsafe-inline" not in policy.split("script-src", 1)[-1].split(";", 1)[0]


NO_ALERTS = {
    "nothing": b"",
    "bytes": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "text": b'{"version": "4", "alerts": "__import__(\'os\')"}',
    "wrong-types": b'{"version": "4", "alerts": [{"labels": {"a": {"b": 1}}}, 7, null]}',
    "wrong-time": b'{"version": "4", "alerts": [{"labels": {"a": "\\ud800"}, "startsAt": "../../etc"}]}',
    "impossible-numbers": b'{"alerts": [{"labels": {"a": "b"}, "startsAt": "9999-99-99T99:99:99Z"}], "x": 1e309}',
}


def test_bodies_that_cannot_be_understood_are_kept_and_looked_at(served: Installation) -> None:
    accepted = served.json("alerts")["accepted"]
    incidents = set()
    for name, body in NO_ALERTS.items():
        answer = raw(served, body)
        assert answer.status_code == 202, name
        assert answer.json()["problem"], name
        incidents |= set(answer.json()["incidents"])
    assert served.json("alerts")["accepted"] == accepted
    (shown,) = ended(served, sorted(incidents)).values()
    assert shown["runbook"] == "triage"
    assert {run["state"] for run in shown["runs"]} == {"succeeded"}


def test_five_thousand_alerts_in_one_body(served: Installation) -> None:
    before = served.json("alerts")["accepted"]
    body = webhook(*(firing("ETH-USD", instance=f"host-{number}") for number in range(5000)))
    answer = raw(served, body)
    assert answer.status_code == 200
    shown = ended(served, served_incidents(served, "ETH-USD"))
    (one,) = shown.values()
    assert {run["state"] for run in one["runs"]} == {"succeeded"}
    ledger = served.json("alerts")
    assert ledger["accepted"] == before + 5000
    assert ledger["waiting"] == 0
    assert raw(served, body).json()["repeats"] == 5000


def served_incidents(installation: Installation, symbol: str) -> list[str]:
    """The incidents that have an alert of this symbol."""
    return [
        one["id"]
        for one in installation.incidents()
        if any(alert["labels"].get("symbol") == symbol for alert in one["alerts"])
    ]


def test_route_to_a_runbook_that_is_not_there(served: Installation, tmp_path: Path) -> None:
    routes = Path(served.environment["RUNBOOK_PARAMS"]) / "routes.yaml"
    good = routes.read_text("utf-8")
    try:
        routes.write_text(good.replace("runbook: var-breach", "runbook: ../../etc/passwd"), "utf-8")
        told = "routes.yaml: routes.0.runbook: there is no runbook '../../etc/passwd'"
        for words in (["routes", "check"], ["routes", "test", "--alert", str(alert_file(tmp_path))]):
            assert told in served.runbook(*words, expect=2).stderr
        incident = served.deliver(firing("XRP-USD")).json()["incidents"][0]
        shown = ended(served, [incident])[incident]
    finally:
        routes.write_text(good, "utf-8")
    assert (shown["runbook"], shown["platform"]) == ("triage", "crypto")
    (accepted,) = (entry["body"] for entry in shown["timeline"] if entry["kind"] == "alert-accepted")
    assert told in accepted["route"]
    assert {run["state"] for run in shown["runs"]} == {"succeeded"}


def alert_file(folder: Path) -> Path:
    file = folder / "alert.json"
    file.write_text(json.dumps(firing()), "utf-8")
    return file


MISTAKES = {
    "three-kinds": (
        {"environment: sandbox": "environment: moon", "var_limit_pct: 2.0": 'var_limit_pct: "2.0"'},
        "surprise: 1\n",
        (
            "crypto.yaml: environment:",
            "crypto.yaml: surprise:",
            "crypto.yaml: runbooks.var-breach.var_limit_pct: must be float, not str '2.0'",
        ),
    ),
    "values-of-a-runbook": (
        {"var_limit_pct: 2.0": 'var_limit_pct: "2.0"', "market_clock:": "market_glock:", "kelly: 0.1": "kelly: 17"},
        "",
        (
            "var_limit_pct: must be float",
            "market_glock: var-breach has no such parameter",
            "emergency_kelly: must be at",
        ),
    ),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_parameter_file_with_three_mistakes(installation: Installation, tmp_path: Path, kind: str) -> None:
    changes, more, told = MISTAKES[kind]
    shutil.copytree(PROJECT / "params", tmp_path / "params")
    file = tmp_path / "params" / "platforms" / "crypto.yaml"
    text = file.read_text("utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    file.write_text(text + more, "utf-8")
    installation.environment["RUNBOOK_PARAMS"] = str(tmp_path / "params")
    for words in (
        ["run", "var-breach", "--platform", "crypto"],
        ["routes", "check"],
        ["serve", "--port", str(installation.port)],
    ):
        said = installation.runbook(*words, expect=2).stderr
        for part in told:
            assert part in said
        assert "crypto.yaml" in said
    assert not any(path.name.startswith("INC-") for path in installation.home.rglob("*"))


def test_disk_that_is_full_while_the_record_is_saved(installation: Installation) -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system of its own needs a mount namespace, which this user may not make")
    installation.runbook("sandbox", "up", "crypto", "--no-monitoring")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-eu", str(FULL_DISK), RUNBOOK, str(installation.home)],
        env=installation.environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    run, kept, shown, closed, verified = told
    assert run["state"] == "failed"
    assert kept["metadata"]["run"]["state"] in ("running", "failed")
    (row,) = shown["runs"]
    assert row["state"] == "failed"
    assert "The record could not be saved: No space left on device" in row["error"]
    assert [entry["body"]["state"] for entry in shown["timeline"] if entry["kind"] == "run-ended"] == ["failed"]
    assert closed["metadata"]["run"]["state"] == "failed"
    assert verified["ok"], verified
    assert [one["state"] for one in verified["incidents"]] == ["intact"]
