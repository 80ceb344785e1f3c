"""Keeps the embedded PostgreSQL up while anybody uses it: `python -m opslib.store.supervisor HOME LOCK_FD`."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from opslib.errors import RunbookError
from opslib.settings import Settings
from opslib.store import embedded

LINGER_S = float(os.environ.get("RUNBOOK_STORE_LINGER_S", "60"))
_UNPRIVILEGED = Path(__file__).with_name("unprivileged.py")


def _ordinary(command: list[str]) -> list[str]:
    """`command`, wrapped where this process is root."""
    return [sys.executable, "-I", "-S", str(_UNPRIVILEGED), *command] if os.geteuid() == 0 else command


class Supervisor:
    """One embedded server and its life."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.place = embedded.folder(settings)
        self.data = self.place / "data"
        self.child: subprocess.Popen[bytes] | None = None
        self.stopping = False

    def prepare(self) -> None:
        """Make the cluster on first use; a half-made one is made again."""
        if (self.place / "server.json").exists() and (self.data / "PG_VERSION").exists():
            return
        subprocess.run(["rm", "-rf", str(self.data)], check=True)
        passwords = embedded.new_passwords()
        secret = self.place / "initial-password"
        secret.touch(mode=0o600)
        secret.write_text(passwords["owner"], "ascii")
        try:
            subprocess.run(
                _ordinary(
                    [
                        *(str(embedded.binaries() / "initdb"), "-D", str(self.data), "-U", "runbook_owner"),
                        *("--auth=scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "--no-sync"),
                    ]
                ),
                check=True,
                cwd="/",
            )
        finally:
            secret.unlink()
        port = embedded.free_port()
        self._create_roles(passwords)
        temporary = self.place / "server.json.new"
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps({"port": port, "passwords": passwords}), "utf-8")
        temporary.replace(self.place / "server.json")

    def _create_roles(self, passwords: dict[str, str]) -> None:
        """The roles and the database, through a single-user server: nothing listens yet."""
        statements = [
            f"CREATE ROLE runbook_{role} LOGIN PASSWORD '{passwords[role]}'" for role in ("worker", "reader")
        ] + [f"CREATE DATABASE {embedded.DATABASE} OWNER runbook_owner"]
        subprocess.run(
            _ordinary([str(embedded.binaries() / "postgres"), "--single", "-D", str(self.data), "postgres"]),
            input="\n".join(statements).encode() + b"\n",
            check=True,
            cwd="/",
        )

    def server_pid(self) -> int | None:
        """The process of a server that runs on our data, also one that an earlier supervisor left."""
        try:
            pid = int((self.data / "postmaster.pid").read_text("ascii").split()[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            return None
        return pid if str(self.data).encode() in command else None

    def start(self) -> None:
        """Start the server on its port; on another where that one was taken meanwhile."""
        server = embedded.read(self.settings)
        if server is None:
            raise RuntimeError("server.json is missing")
        if server.answers():  # somebody else's: our server is not running
            server = embedded.Server(embedded.free_port(), server.passwords)
            (self.place / "server.json").write_text(
                json.dumps({"port": server.port, "passwords": server.passwords}), "utf-8"
            )
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "64MB",
            "password_encryption": "scram-sha-256",
            "logging_collector": "off",
        }
        self.child = subprocess.Popen(
            _ordinary(
                [str(embedded.binaries() / "postgres"), "-D", str(self.data), "-p", str(server.port)]
                + [f"--{name}={value}" for name, value in options.items()]
            ),
            cwd="/",
            start_new_session=True,
        )

    def stop(self) -> None:
        """A fast shutdown, waited for."""
        pid = self.server_pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + 20
        while self.server_pid() is not None and time.monotonic() < deadline:
            if self.child is not None:
                self.child.poll()
            time.sleep(0.02)

    def run(self) -> None:
        """Until asked to stop, or nobody has used the server for a while."""
        self.prepare()
        idle_since: float | None = None
        failures = 0
        while not self.stopping and not (self.place / "stop").exists():
            if not self.data.exists():
                return
            if self.server_pid() is None and (self.child is None or self.child.poll() is not None):
                time.sleep(min(0.05 * 2**failures, 5.0) if failures else 0)
                self.start()
                failures += 1
            elif failures and (server := embedded.read(self.settings)) is not None and server.answers():
                failures = 0
            alone = embedded.lock(self.place / "users.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
            if alone is None:
                idle_since = None
            else:
                idle_since = idle_since or time.monotonic()
                if time.monotonic() - idle_since > LINGER_S:
                    self.stop()  # with the lock in hand: who comes now waits, and starts it again
                    os.close(alone)
                    return
                os.close(alone)
            time.sleep(0.1 if failures else 0.25)
        self.stop()


def main() -> None:
    """Supervise the server of the home given; the lock's descriptor is inherited and held until the end."""
    supervisor = Supervisor(Settings(home=Path(sys.argv[1])))

    def ask(_signal: int, _frame: object) -> None:
        supervisor.stopping = True

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    os.set_inheritable(int(sys.argv[2]), False)
    os.chdir("/")
    try:
        supervisor.run()
    except (RunbookError, subprocess.CalledProcessError, OSError) as error:
        failed = isinstance(error, subprocess.CalledProcessError)
        why = "initdb failed, see above" if failed else str(error)
        sys.exit(f"the supervisor ended: {why}")


if __name__ == "__main__":
    main()
