"""Whether the server lives, whether it can do its work, and its figures."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from opslib import store
from opslib.api.answers import Json
from opslib.api.counts import Counts
from opslib.settings import Settings
from opslib.store import processes

KINDS = ("worker", "recorder", "applier", "signer")


def router(settings: Settings, counts: Counts) -> APIRouter:
    """`/healthz`, `/readyz`, `/metrics`."""
    api = APIRouter(tags=["health"])

    @api.get("/healthz", summary="The server lives")
    def healthz() -> Json:
        """Says so without asking anybody."""
        return Json({"status": "alive"})

    @api.get("/readyz", summary="The server can take alerts")
    def readyz() -> Response:
        """200 while the store answers; says too which of the other processes are alive."""
        if not store.reachable(settings):
            return Json({"status": "the database is away"}, 503)
        with store.transaction(settings, role="reader") as connection:
            alive = {kind: processes.alive(connection, kind) for kind in KINDS}
        return Json({"status": "ready", "alive": alive})

    @api.get("/metrics", summary="Figures in Prometheus's format")
    def metrics() -> Response:
        """Without a token: no label of an alert is in it."""
        return Response(counts.text(), media_type=CONTENT_TYPE_LATEST)

    return api
