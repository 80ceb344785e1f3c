"""The HTTP side of the platform: health, metrics, status, and what an operator can change."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from sandbox.crypto import dashboards_api
from sandbox.crypto.heart import Heart
from sandbox.crypto.model_server import MOST_INSTANCES
from sandbox.crypto.parameters import SYMBOLS
from sandbox.crypto.status import PlatformCollector, audit, status
from sandbox.errors import ControlRefused, SandboxError

__all__ = ["build"]

_LARGEST_BODY = 65_536
_SLOW_S = 0.1

Fraction = Annotated[float, Field(gt=0, le=1)]
Reason = Annotated[str, Field(min_length=1, max_length=500)]

_log = logging.getLogger("trading-system")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class KellyBody(_Body):
    """Body of `/api/risk/emergency-reduce` and `/api/risk/kelly`."""

    kelly_fraction: Fraction
    reason: Reason = "not given"


class LimitBody(_Body):
    """Body of `/api/risk/position-limit`."""

    symbol: str
    limit_usd: float = Field(gt=0, le=1e9)
    reason: Reason = "not given"


class PenaltyBody(_Body):
    """Body of `/api/models/penalty`."""

    model: str
    penalty: float = Field(ge=0, le=1)
    reason: Reason = "not given"


class InstanceBody(_Body):
    """Body of `/api/store/use`."""

    instance: str
    reason: Reason = "not given"


class WriterBody(_Body):
    """Body of `/api/series/writer`."""

    running: bool
    reason: Reason = "not given"


class RulesBody(_Body):
    """Body of `/api/router/rules`: what is not given stays as it is; `rule` names the one of `threshold` and `band`."""

    min_confidence: float | None = Field(default=None, ge=0, le=1)
    switch_hysteresis: float | None = Field(default=None, ge=0, le=1)
    rule: str | None = Field(default=None, max_length=40)
    threshold: float | None = Field(default=None, ge=0, le=1)
    band: float | None = Field(default=None, ge=0, le=1)
    reason: Reason = "not given"


class MarketHoursBody(_Body):
    """Body of `/api/router/market-hours`."""

    on: bool
    reason: Reason = "not given"


class InstancesBody(_Body):
    """Body of `/api/models/instances`."""

    instances: int = Field(ge=1, le=MOST_INSTANCES)
    reason: Reason = "not given"


class ScenariosBody(_Body):
    """Body of `/api/risk/scenarios`."""

    scenarios: int = Field(ge=100, le=50_000_000)
    reason: Reason = "not given"


class _Refused(SandboxError):
    """The request cannot be carried out. Correct it as the message says."""

    def __init__(self, code: int, error: str, what_to_do: str) -> None:
        super().__init__(f"{error}: {what_to_do}")
        self.code = code
        self.body = {"error": error, "do": what_to_do}


_BodyType = TypeVar("_BodyType", bound=_Body)


def build(heart: Heart) -> FastAPI:
    """Return the application around a platform."""
    app = FastAPI(title="crypto trading platform (sandbox)", docs_url=None, redoc_url=None)
    registry = CollectorRegistry()
    registry.register(PlatformCollector(heart))
    _add_handlers(app)
    app.mount("/grafana", dashboards_api.build(heart.dashboards))

    @app.get("/health")
    async def health() -> Response:
        if heart.beating:
            return JSONResponse({"status": "healthy"})
        reason = "the platform has stopped; restart it" if heart.store_connected else "Redis does not take writes"
        return JSONResponse({"status": "degraded", "reason": reason}, 503)

    @app.get("/api/ready")
    async def ready() -> Response:
        return JSONResponse({"ready": heart.beating}, 200 if heart.beating else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/api/status")
    async def show(request: Request) -> Response:
        document = status(heart)
        if request.query_params.get("audit") == "true":
            document["audit"] = await asyncio.to_thread(audit, heart.platform)
        return JSONResponse(document)

    @app.post("/api/risk/emergency-reduce")
    async def emergency_reduce(request: Request) -> Response:
        body = await _read(request, KellyBody)
        with heart.lock:
            in_force = heart.platform.kelly
            if body.kelly_fraction > in_force:
                raise _Refused(
                    409,
                    f"kelly_fraction {body.kelly_fraction:g} is above {in_force:g}, which is in force",
                    "emergency-reduce only lowers; raise it with POST /api/risk/kelly",
                )
            heart.platform.set_kelly(body.kelly_fraction, f"emergency-reduce ({body.reason})", heart.now_ms())
        return JSONResponse({"status": "reducing", "kelly_fraction": body.kelly_fraction, "before": in_force})

    @app.post("/api/risk/kelly")
    async def kelly(request: Request) -> Response:
        body = await _read(request, KellyBody)
        with heart.lock:
            before = heart.platform.set_kelly(body.kelly_fraction, f"operator ({body.reason})", heart.now_ms())
        return JSONResponse({"status": "set", "kelly_fraction": body.kelly_fraction, "before": before})

    @app.post("/api/risk/position-limit")
    async def position_limit(request: Request) -> Response:
        body = await _read(request, LimitBody)
        if body.symbol not in SYMBOLS:
            raise _Refused(422, f"unknown symbol {body.symbol[:40]!r}", f"use one of {', '.join(SYMBOLS)}")
        with heart.lock:
            place = SYMBOLS.index(body.symbol)
            by = f"operator ({body.reason})"
            before = heart.platform.set_limit(place, body.limit_usd, by, heart.now_ms())
        return JSONResponse({"status": "set", "symbol": body.symbol, "limit_usd": body.limit_usd, "before": before})

    @app.post("/api/models/penalty")
    async def penalty(request: Request) -> Response:
        body = await _read(request, PenaltyBody)
        with heart.lock:
            by = f"operator ({body.reason})"
            before = heart.platform.set_penalty(body.model, body.penalty, by, heart.now_ms())
        return JSONResponse({"status": "set", "model": body.model, "penalty": body.penalty, "before": before})

    @app.post("/api/router/rules")
    async def router_rules(request: Request) -> Response:
        body = await _read(request, RulesBody)
        with heart.lock:
            rules = heart.platform.router.rules
            if body.rule is not None and body.rule not in [rule.name for rule in rules.pair_rules]:
                known = ", ".join(rule.name for rule in rules.pair_rules) or "none"
                raise _Refused(422, f"unknown rule {body.rule!r}", f"use one of: {known}")
            given = body.model_dump(exclude_none=True, exclude={"reason", "rule"})
            changed = rules.changed(body.rule, given)
            heart.platform.apply_rules(changed, f"operator ({body.reason})", heart.now_ms())
            heart.keep_rules()
        return JSONResponse({"status": "set", "rules": changed.model_dump(mode="json")})

    @app.post("/api/router/market-hours")
    async def market_hours(request: Request) -> Response:
        body = await _read(request, MarketHoursBody)
        with heart.lock:
            rules = heart.platform.router.rules
            changed = rules.model_copy(update={"market_hours_only": body.on})
            heart.platform.apply_rules(changed, f"operator ({body.reason})", heart.now_ms())
            heart.keep_rules()
        return JSONResponse({"status": "set", "market_hours_only": body.on, "before": rules.market_hours_only})

    @app.post("/api/models/instances")
    async def instances(request: Request) -> Response:
        body = await _read(request, InstancesBody)
        with heart.lock:
            by = f"operator ({body.reason})"
            before = heart.platform.scale_models(body.instances, by, heart.now_ms())
        return JSONResponse({"status": "scaled", "instances": body.instances, "before": before})

    @app.post("/api/risk/scenarios")
    async def scenarios(request: Request) -> Response:
        body = await _read(request, ScenariosBody)
        with heart.lock:
            by = f"operator ({body.reason})"
            before = heart.platform.set_scenarios(body.scenarios, by, heart.now_ms())
        return JSONResponse({"status": "set", "scenarios": body.scenarios, "before": before})

    @app.post("/api/risk/refresh-volatility")
    async def refresh_volatility() -> Response:
        with heart.lock:
            estimates = heart.platform.refresh_volatility("operator", heart.now_ms())
        return JSONResponse({"status": "refreshed", "volatility_estimates": estimates})

    @app.post("/api/store/use")
    async def use_instance(request: Request) -> Response:
        body = await _read(request, InstanceBody)
        before = heart.store.in_use
        await asyncio.to_thread(heart.store.use, body.instance)
        return JSONResponse({"status": "in use", "instance": body.instance, "before": before})

    @app.post("/api/series/writer")
    async def series_writer(request: Request) -> Response:
        body = await _read(request, WriterBody)
        before = heart.series_writer["running"]
        await asyncio.to_thread(heart.run_series_writer, body.running, f"operator ({body.reason})")
        return JSONResponse({"status": "set", "running": body.running, "before": before})

    @app.post("/api/circuit-breaker/reset")
    async def reset() -> Response:
        with heart.lock:
            state = heart.platform.reset_breaker("operator", heart.now_ms())
        return JSONResponse({"status": "reset", "state": state.name})

    def switch(path: str, change: Callable[[], None], answer: dict[str, Any]) -> None:
        async def endpoint() -> Response:
            with heart.lock:
                change()
            return JSONResponse(answer)

        app.add_api_route(path, endpoint, methods=["POST"])

    def platform_call(name: str, value: bool) -> Callable[[], None]:
        return lambda: getattr(heart.platform, name)(value, "operator", heart.now_ms())

    switch("/api/router/pause", platform_call("set_router", True), {"status": "paused"})
    switch("/api/router/resume", platform_call("set_router", False), {"status": "running"})
    switch("/api/stop-trading", platform_call("set_trading", False), {"status": "stopped", "trading": False})
    switch("/api/start-trading", platform_call("set_trading", True), {"status": "started", "trading": True})
    return app


def _add_handlers(app: FastAPI) -> None:
    """Errors as JSON that says what to do, and a line in the log for a slow request."""

    @app.exception_handler(_Refused)
    async def refused(_request: Request, problem: _Refused) -> Response:
        return JSONResponse(problem.body, problem.code)

    @app.exception_handler(ControlRefused)
    async def unknown(_request: Request, problem: ControlRefused) -> Response:
        return JSONResponse({"error": str(problem), "do": "GET /api/status lists what there is"}, 422)

    @app.exception_handler(HTTPException)
    async def plain(_request: Request, problem: HTTPException) -> Response:
        return JSONResponse(
            {"error": str(problem.detail), "do": "GET /openapi.json lists the paths"}, problem.status_code
        )

    @app.middleware("http")
    async def watch(request: Request, following: Callable[[Request], Awaitable[Response]]) -> Response:
        begun = time.perf_counter()
        response = await following(request)
        took = time.perf_counter() - begun
        if took > _SLOW_S:
            _log.warning("slow request %s %s took %.0f ms", request.method, request.url.path, took * 1000.0)
        return response


async def _read(request: Request, kind: type[_BodyType]) -> _BodyType:
    """Read a JSON body whatever its content type, as `curl -d` sends none of use."""
    fields = ", ".join(f'"{name}"' for name in kind.model_fields)
    hint = f"send a JSON object with {fields}"
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > _LARGEST_BODY:
            raise _Refused(413, f"the body is larger than {_LARGEST_BODY} bytes", hint)
    try:
        return kind.model_validate(json.loads(raw.decode("utf-8")))
    except ValidationError as problem:
        mistakes = "; ".join(
            f"{'.'.join(map(str, mistake['loc'])) or 'body'}: {mistake['msg']}" for mistake in problem.errors()
        )
        raise _Refused(422, mistakes, hint) from problem
    except (UnicodeError, ValueError, RecursionError) as problem:
        raise _Refused(400, f"the body is no JSON ({problem})", hint) from problem
