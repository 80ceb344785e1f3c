"""The HTTP side of the dashboards' data path: the paths of Grafana's API that an operator uses, and `/api/panels`."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from sandbox.crypto.dashboards import Dashboards
from sandbox.crypto.parameters import VERSION
from sandbox.errors import ControlRefused

__all__ = ["build"]


class SourceBody(BaseModel):
    """Body of `PUT /api/datasources/uid/UID`; other members are taken and ignored, as Grafana's own page sends them."""

    model_config = ConfigDict(extra="ignore")

    url: str = Field(min_length=8, max_length=300)


class VersionBody(BaseModel):
    """Body of `POST /api/dashboards/uid/UID/restore`."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1)


def build(dashboards: Dashboards) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="data path of the dashboards (sandbox, not Grafana)", docs_url=None, redoc_url=None)

    @app.exception_handler(ControlRefused)
    async def refused(_request: Any, problem: ControlRefused) -> Response:
        return JSONResponse({"message": str(problem)}, 404)

    @app.get("/api/health")
    async def health() -> Response:
        return JSONResponse({"database": "ok", "version": VERSION, "product": "data path of the dashboards"})

    @app.get("/api/datasources")
    async def sources() -> Response:
        return JSONResponse(list(dashboards.sources.values()))

    @app.put("/api/datasources/uid/{uid}")
    async def set_source(uid: str, body: SourceBody) -> Response:
        before = await asyncio.to_thread(dashboards.set_source, uid, body.url)
        return JSONResponse({"message": "Datasource updated", "uid": uid, "url": body.url, "before": before})

    @app.get("/api/dashboards/uid/{uid}")
    async def dashboard(uid: str) -> Response:
        return JSONResponse({"dashboard": _known(dashboards, uid)})

    @app.get("/api/dashboards/uid/{uid}/versions")
    async def versions(uid: str) -> Response:
        _known(dashboards, uid)
        listed = [
            {
                "version": one["version"],
                "message": one["message"],
                "created": one["created"],
                "queries": sorted(
                    {str(target.get("command", "promql")) for panel in one["panels"] for target in panel["targets"]}
                ),
            }
            for one in reversed(dashboards.versions)
        ]
        return JSONResponse({"versions": listed})

    @app.post("/api/dashboards/uid/{uid}/restore")
    async def restore(uid: str, body: VersionBody) -> Response:
        _known(dashboards, uid)
        number = await asyncio.to_thread(dashboards.restore, body.version)
        return JSONResponse({"status": "success", "uid": uid, "version": number, "restored": body.version})

    @app.get("/api/panels")
    async def panels() -> Response:
        return JSONResponse({"panels": dashboards.panels})

    return app


def _known(dashboards: Dashboards, uid: str) -> dict[str, Any]:
    if uid != dashboards.definition["uid"]:
        raise ControlRefused(f"there is no dashboard {uid!r}")
    return dashboards.definition
