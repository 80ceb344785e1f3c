"""nginx in front of the platform: HTTPS on loopback, with a certificate that the platform's own authority issued."""

from __future__ import annotations

import grp
import os
import pwd
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path
from string import Template

from sandbox import processes
from sandbox.cluster.certificates import Authority
from sandbox.errors import StartFailed

__all__ = ["LACKING", "Front", "available", "left"]

LACKING = "nginx is not installed, so the platform has no HTTPS and no certificate: apt-get install nginx"

_CERTIFICATE, _AUTHORITY = "web.crt", "ca.crt"
_DAYS = 90.0
_HOST = "127.0.0.1"
_NAMES = ("localhost", _HOST)
_TRIES = 3
_READY_S = 10.0
_HANDED_OVER_S = 0.4  # nginx tells its former worker to go a tenth of a second after it started the next


def available() -> str | None:
    """Path of nginx, or None where it is not installed."""
    return processes.which("nginx")


def left(folder: Path) -> list[tuple[int, str]]:
    """Pid and start time of every nginx of the platform in `folder`: workers outlive a killed master."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = (process / "cwd").readlink() == folder / "nginx"
            named = (process / "comm").read_text("utf-8", errors="replace").strip() == "nginx"
        except OSError:
            continue  # it ended meanwhile, or is another's
        if ours and named and (start := processes.started(int(process.name))) is not None:
            found.append((int(process.name), start))
    return found


class Front:
    """nginx with its certificate.

    Parameters
    ----------
    folder : Path
        Of the platform. `conf/tls/` holds the certificate `web.crt` and its authority `ca.crt`; `nginx/` what nginx
        alone has to do with: its configuration, the key, the access log.
    log : Path
        Takes what nginx says of itself.
    behind : str
        Address of the platform.
    port : int
        Where it listens; `start` chooses one.
    """

    def __init__(self, folder: Path, log: Path, behind: str, port: int = 0) -> None:
        self.port = port
        self._folder, self._shown = folder / "nginx", folder / "conf" / "tls"
        self._log, self._behind = log, behind
        for made in (self._folder, self._shown):
            made.mkdir(parents=True, exist_ok=True)
        self._authority = Authority.make(self._folder)
        (self._folder / _AUTHORITY).unlink()  # it is shown beside the certificate
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"https://{_HOST}:{self.port}"

    def start(self, program: str, running: dict[str, subprocess.Popen[bytes]]) -> None:
        """Start nginx on a free port and wait until it serves the certificate.

        Parameters
        ----------
        program : str
            What `available` found.
        running : dict
            Takes the process as soon as it is started.

        Raises
        ------
        StartFailed
            With the end of its log.
        """
        command = [program, "-p", str(self._folder), "-c", "nginx.conf"]
        for _ in range(_TRIES):
            self.port = processes.free_port()
            self.write()
            environment = {"PATH": os.defpath, "LC_ALL": "C"}
            self._process = processes.spawn(command, self._log, self._folder, environment)
            running["nginx"] = self._process
            if self._ready():
                return
            self._process.kill()
            self._process.wait()
        raise StartFailed(f"nginx did not become ready; {self._last_words()}")

    def restore(self) -> None:
        """Be as after the start: configuration written afresh, and a new certificate, which is served at once.

        Raises
        ------
        StartFailed
            With the end of its log.
        """
        if self._process is None:
            return
        self.write()
        self._process.send_signal(signal.SIGHUP)
        if not self._ready(_HANDED_OVER_S):
            raise StartFailed(f"nginx did not take its configuration and certificate; {self._last_words()}")

    def write(self) -> None:
        """Write configuration and a new certificate; a running nginx takes them over by SIGHUP."""
        template = Template((Path(__file__).parent / "nginx.conf").read_text("utf-8"))
        text = template.substitute(user=_user(), here=f"{_HOST}:{self.port}", behind=self._behind)
        (self._folder / "nginx.conf").write_text(text, "utf-8")
        self._authority.issue("web", "crypto", hosts=_NAMES, days=_DAYS)
        (self._folder / _CERTIFICATE).replace(self._shown / _CERTIFICATE)
        (self._shown / _AUTHORITY).write_bytes(self._authority.pem)

    def _ready(self, steady_s: float = 0.0) -> bool:
        """Wait until the certificate on the disk is the one that is served, each time for so long [s]."""
        deadline = time.monotonic() + _READY_S
        since = None
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            since = (since or time.monotonic()) if self.serves() else None
            if since is not None and time.monotonic() - since >= steady_s:
                return True
            time.sleep(0.02)
        return False

    def serves(self) -> bool:
        """Whether the certificate on the disk is the one that is served."""
        trusted = ssl.create_default_context(cafile=str(self._shown / _AUTHORITY))
        try:
            with (
                socket.create_connection((_HOST, self.port), timeout=1.0) as plain,
                trusted.wrap_socket(plain, server_hostname=_HOST) as secure,
            ):
                served = secure.getpeercert(binary_form=True)
        except OSError:  # it does not listen yet, or serves another one
            return False
        return served == ssl.PEM_cert_to_DER_cert((self._shown / _CERTIFICATE).read_text("ascii"))

    def _last_words(self) -> str:
        tail = "\n".join(self._log.read_text("utf-8", errors="replace").splitlines()[-8:])
        return f"the end of {self._log} says:\n{tail}"


def _user() -> str:
    """The line with which a worker of root stays who it is; the folder is the owner's alone. Others say nothing."""
    if os.geteuid() != 0:
        return ""
    return f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(0).gr_name};"
