"""Actions on what stands between a dashboard and its data: the writer of the series, datasources, saved versions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from opslib.actions.action import Action, ActionArguments, Check, Context, Description, MayGoBack, Observation
from opslib.actions.documents import Target, Undo
from opslib.actions.redis_access import dashboard_check
from opslib.errors import PlanError, ProbeError

EFFECT_S = 60.0
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
Address = Annotated[str, Field(max_length=300, pattern=r"^(redis|http)://[A-Za-z0-9.-]+:\d{1,5}(/[A-Za-z0-9/_-]*)?$")]


class _Dashboards(Action):
    """What these actions have in common: they end when every panel has data again."""

    effect_within_s = EFFECT_S

    def check(self, context: Context) -> Check:
        """Whether a panel has no data."""
        return dashboard_check(context)


class SetSeriesWriterArguments(ActionArguments):
    """Whether the writer of the series runs."""

    running: bool = True


class SetSeriesWriter(_Dashboards):
    """Start the writer of the series again, which then also writes what is missing."""

    name = "crypto.set-series-writer"
    kind = "restart"
    Arguments = SetSeriesWriterArguments
    arguments: SetSeriesWriterArguments

    def observe(self, context: Context) -> Observation:
        """Whether it runs, and when it last wrote."""
        told = _member(context, "api", "/api/status", "series_writer")
        target = Target(
            kind="series-writer", name=context.platform, uid=context.platform, fields={"running": bool(told["running"])}
        )
        return Observation(target, {"last_write_ms": told.get("last_write_ms")})

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it."""
        if seen.target.fields["running"] == self.arguments.running:
            raise PlanError(f"the writer of the series {'runs' if self.arguments.running else 'stands'} already")
        verb = "Start" if self.arguments.running else "Stop"
        effect = (
            "every series is written afresh, then step by step" if self.arguments.running else "no series is written"
        )
        return Description(
            summary=f"{verb} the writer of the series of {context.platform}",
            preview={"running": seen.target.fields["running"], "then": self.arguments.running, **seen.facts},
            expected_effect=f"{effect}; the panels follow within seconds",
            blast_radius={"components": 1},
            residual_risk="why it ended is not known yet: it may end again",
            undo=Undo(
                kind="inverse",
                reason="brings the writer into the state in which it was",
                action=self.name,
                arguments={"running": not self.arguments.running},
            ),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Ask the platform for it."""
        body = {"running": self.arguments.running, "reason": "panels without data"}
        return context.post("api", "/api/series/writer", body, key=key)

    def done(self, context: Context, before: Observation) -> bool:
        """Whether it is in the state asked for, and was not before."""
        asked = self.arguments.running
        now = bool(_member(context, "api", "/api/status", "series_writer")["running"])
        return before.target.fields["running"] != asked and now == asked


class SetDatasourceArguments(MayGoBack):
    """Which datasource, and its address without credentials, which stay as they are."""

    uid: Name
    url: Address


class SetDatasource(_Dashboards):
    """Give a datasource of the dashboards its right address."""

    name = "dashboards.set-datasource"
    kind = "configuration"
    Arguments = SetDatasourceArguments
    arguments: SetDatasourceArguments

    def observe(self, context: Context) -> Observation:
        """Its address as it is."""
        uid = self.arguments.uid
        target = Target(kind="datasource", name=uid, uid=uid, fields={"url": self._url(context)})
        return Observation(target)

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it."""
        old, new = str(seen.target.fields["url"]), self.arguments.url
        if old == new:
            raise PlanError(f"datasource {self.arguments.uid} has the address {new} already")
        return Description(
            summary=f"Set the datasource {self.arguments.uid} of {context.platform} from {old} to {new}",
            preview={"before": old, "after": new},
            expected_effect="its panels have data with their next refresh",
            blast_radius={"datasources": 1},
            residual_risk="a file from which the datasource is provisioned brings the old address back at a restart",
            undo=Undo(
                kind="inverse",
                reason="sets the previous address",
                action=self.name,
                arguments={"uid": self.arguments.uid, "url": old},
            ),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Ask for it."""
        path = f"/api/datasources/uid/{self.arguments.uid}"
        return context.post("dashboards", path, {"url": self.arguments.url}, key=key, method="PUT")

    def done(self, context: Context, before: Observation) -> bool:
        """Whether it has the address, and had another before."""
        asked = self.arguments.url
        return before.target.fields["url"] != asked and self._url(context) == asked

    def _url(self, context: Context) -> str:
        sources: Any = context.get("dashboards", "/api/datasources").json()
        found = [one for one in sources if isinstance(one, dict) and one.get("uid") == self.arguments.uid]
        if not found:
            raise PlanError(f"there is no datasource {self.arguments.uid}")
        return str(found[0].get("url", ""))


class RestoreVersionArguments(MayGoBack):
    """Which dashboard, and the version to bring back."""

    uid: Name
    version: int = Field(ge=1)


class RestoreVersion(_Dashboards):
    """Bring an earlier version of a dashboard back, as a new version."""

    name = "dashboards.restore-version"
    kind = "configuration"
    Arguments = RestoreVersionArguments
    arguments: RestoreVersionArguments

    def observe(self, context: Context) -> Observation:
        """The version in force, and what the versions ask."""
        versions = _member(context, "dashboards", f"/api/dashboards/uid/{self.arguments.uid}/versions", "versions")
        now = max(int(one["version"]) for one in versions)
        target = Target(kind="dashboard", name=self.arguments.uid, uid=self.arguments.uid, fields={"version": now})
        return Observation(target, {"versions": versions})

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it: what the panels ask now, and what they ask then."""
        now, asked = int(seen.target.fields["version"]), self.arguments.version
        known = {int(one["version"]): one for one in seen.facts["versions"]}
        if asked not in known or asked == now:
            raise PlanError(f"{self.arguments.uid} has no earlier version {asked}; in force is {now}")
        return Description(
            summary=f"Restore version {asked} of the dashboard {self.arguments.uid} of {context.platform}",
            preview={
                "rows": [
                    {
                        "of the dashboard": name,
                        "value": _told(known[now][name]),
                        "value_after": _told(known[asked][name]),
                    }
                    for name in ("version", "message", "queries")
                    if name in known[now] and name in known[asked]
                ]
            },
            expected_effect="its panels ask what they asked then, and have data with their next refresh",
            blast_radius={"dashboards": 1},
            residual_risk=f"what version {now} brought is gone from the screens until it can be shown",
            undo=Undo(
                kind="inverse",
                reason=f"restores version {now}",
                action=self.name,
                arguments={"uid": self.arguments.uid, "version": now},
            ),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Ask for it."""
        path = f"/api/dashboards/uid/{self.arguments.uid}/restore"
        return context.post("dashboards", path, {"version": self.arguments.version}, key=key)

    def done(self, context: Context, before: Observation) -> bool:
        """Whether there is a newer version than before."""
        return int(self.observe(context).target.fields["version"]) > int(before.target.fields["version"])


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _member(context: Context, system: str, path: str, name: str) -> Any:
    """A member of what a path answers.

    Raises
    ------
    ProbeError
        When it is not there.
    """
    try:
        return context.get(system, path).json()[name]
    except (ValueError, KeyError, TypeError) as error:
        raise ProbeError(f"{path} of {context.platform} does not tell {name}") from error
