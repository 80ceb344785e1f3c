"""The steps of `up`: what has to lie ready, and how the platform gets its contents and its history."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import httpx
from psycopg import sql

from opslib import web
from opslib.settings import PROJECT
from sandbox.cluster import missing
from sandbox.cluster.kube import ready
from sandbox.derivatives import contents, manifests
from sandbox.derivatives.access import Access
from sandbox.derivatives.service.models import Models, write_store
from sandbox.derivatives.service.release import Release, write
from sandbox.derivatives.setup import DATABASE, EARLIER, NAMESPACE, RELEASE, Setup
from sandbox.derivatives.sql import queries
from sandbox.errors import CannotRun

__all__ = ["PORTS", "check_programs", "deploy_history", "fill", "prepare", "serving", "stores_answer"]

PORTS = {"derivatives-api": 80, "postgres": 5432, "redis": 6379}
_PROGRAMS = {
    "/usr/lib/postgresql/15/bin/postgres": "postgresql-15",
    "/usr/bin/prometheus-postgres-exporter": "prometheus-postgres-exporter",
    "/usr/bin/prometheus-redis-exporter": "prometheus-redis-exporter",
}
_WARM = "from engine.pricing import european; european(1.0, 1.0, 1.0, 0.0, 0.0, 0.2, 'call')"


def check_programs(*, own: bool = False) -> None:
    """Make sure that the machine has what pods run, and can run a cluster unless there is one of the user's `own`.

    Raises
    ------
    CannotRun
        With everything that is missing.
    """
    packages = [package for program, package in _PROGRAMS.items() if not os.access(program, os.X_OK)]
    installed = [f"its pods run the Debian package {name}" for name in packages]
    lacking = [*([] if own else missing()), *installed]
    if lacking:
        instead = "" if own else "A cluster of yours serves instead: --kubeconfig FILE --context NAME. "
        raise CannotRun(
            f"this machine cannot run the platform {NAMESPACE}: {'; '.join(lacking)}. On Debian 12, as root, "
            f"`make packages` installs the packages. {instead}The platform crypto needs no cluster: "
            "`runbook sandbox up crypto`",
            missing=lacking,
        )


def prepare(setup: Setup) -> None:
    """Put releases, models and compiled kernels where pods find them."""
    setup.demand.parent.mkdir(parents=True, exist_ok=True)
    for name in (*EARLIER, RELEASE):
        write(setup.releases, Release(name))
    write_store(setup.models)
    setup.numba.mkdir(parents=True, exist_ok=True)
    variables = {"PATH": os.defpath, "PYTHONPATH": str(PROJECT), "NUMBA_CACHE_DIR": str(setup.numba)}
    subprocess.run([sys.executable, "-c", _WARM], env=variables, check=True, timeout=120.0)


def stores_answer(access: Access) -> bool:
    """Whether PostgreSQL and Redis do."""
    with access.cache() as client:
        client.ping()
    import psycopg

    url = access.setup.postgres_url("postgres", *access.postgres).removesuffix(DATABASE) + "postgres"
    with psycopg.connect(url, autocommit=True, connect_timeout=3) as connection:
        connection.execute("SELECT 1")
    return True


def fill(access: Access) -> None:
    """Make the database, its roles and its contents; warm the cache; mark both."""
    import psycopg

    setup = access.setup
    roles = queries("roles")
    url = setup.postgres_url("postgres", *access.postgres).removesuffix(DATABASE) + "postgres"
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        for name in ("axiom_prod", "recorder"):
            password = sql.Literal(setup.passwords[name])
            connection.execute(sql.SQL(roles.make).format(sql.Identifier(name), password))
        connection.execute(sql.SQL(roles.database).format(sql.Identifier(DATABASE)))
    with access.database() as connection:
        connection.execute(queries("schema").statements)
        connection.execute(roles.rights)
    with access.database("axiom_prod") as connection, access.cache() as client:
        contents.fill_database(connection, setup.sandbox_id)
        contents.reset_book(connection, client)
        client.set(contents.MARK, setup.sandbox_id)
        contents.warm_cache(client, Models(setup.models), Release(RELEASE))


def deploy_history(access: Access) -> None:
    """Roll out the earlier releases, without a pod, so that there is something to go back to."""
    for number, name in enumerate(EARLIER, start=1):
        access.kube.send("apply", [manifests.api(access.setup, name, replicas=0)])
        deadline = time.monotonic() + 20.0
        while time.monotonic() < deadline:
            if len(access.kube.document("get", "replicasets", "-l", "app=derivatives-api")["items"]) >= number:
                break
            time.sleep(0.2)


def serving(access: Access) -> bool:
    """Whether every pod of the service is ready, and one answers with a market and a book."""
    pods = access.kube.pods("derivatives-api")
    if sum(map(ready, pods)) < manifests.REPLICAS:
        return False
    try:
        answer = web.get(f"{access.api}/stats/engines", timeout=5.0)
        return answer.is_success and bool(answer.json()["book"])
    except (httpx.HTTPError, ValueError, KeyError):
        return False
