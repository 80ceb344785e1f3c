"""Run `derivatives-api` until SIGTERM. What it works with comes from the environment, as the Deployment sets it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from pathlib import Path

from sandbox.derivatives.service import release
from sandbox.derivatives.service.application import Application
from sandbox.derivatives.service.cache import Cache
from sandbox.derivatives.service.card import Card
from sandbox.derivatives.service.http import serve
from sandbox.derivatives.service.models import Models
from sandbox.derivatives.service.store import Store

_log = logging.getLogger("api")


async def main() -> None:
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    setting = os.environ
    chosen = release.load(Path(setting["RELEASES"]), setting["RELEASE"])
    models = Models(Path(setting["MODELS"]))
    if models.missing:
        _log.warning("model cache is empty for %s: each is fitted when it is asked for", ", ".join(models.missing))
    card = Card(Path(setting["CARD"]), float(setting["GPU_MEMORY_MIB"]))
    if not card.there:
        _log.warning("no CUDA device found: Greeks are computed on the CPU")
    cache = Cache(setting["REDIS_URL"], chosen)
    store = Store(setting["POSTGRES_URL"])
    application = Application(chosen, models, card, cache, store, int(setting.get("GREEKS_BATCH", "0")))
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await store.open()
    await application.warm()
    watching = asyncio.create_task(application.watch())
    server = await serve(application.handle, setting.get("HOST", "0.0.0.0"), int(setting.get("PORT", "8080")))  # noqa: S104
    gc.collect()
    gc.freeze()
    _log.info("release %s listens, %d models ready", chosen.name, models.resident)
    await ended.wait()
    server.close()
    watching.cancel()
    await store.close()
    await cache.close()
    card.leave()


if __name__ == "__main__":
    asyncio.run(main())
