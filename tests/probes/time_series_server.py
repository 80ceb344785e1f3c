"""A small server that speaks Redis' protocol and answers as the TimeSeries module does, which no package here has.

It knows the commands that the probes send (TYPE, GET, HMGET, TS.GET, TS.REVRANGE), as the module's manual describes
their answers in version 2 of the protocol.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer

Series = Mapping[str, list[tuple[int, str]]]  # (milliseconds since 1970, value), oldest first


def _told(value: object) -> bytes:
    """A value in the protocol's words."""
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, Exception):
        return f"-{value}\r\n".encode()
    if isinstance(value, list | tuple):
        return b"*%d\r\n" % len(value) + b"".join(map(_told, value))
    return f"+{value}\r\n".encode()


def _answer(series: Series, command: list[str]) -> object:
    name, *rest = command
    key = rest[0] if rest else ""
    match name.upper():
        case "PING" | "CLIENT":
            return "OK"
        case "TYPE":
            return "TSDB-TYPE" if key in series else "none"
        case "HMGET":
            return [None] * (len(rest) - 1)
        case "TS.GET" | "TS.REVRANGE" if key not in series:
            return Exception("ERR TSDB: the key does not exist")
        case "TS.GET":
            return list(series[key][-1]) if series[key] else []
        case "TS.REVRANGE":
            _, begin, end, word, count = rest
            if (begin, end, word) != ("-", "+", "COUNT"):
                return Exception("ERR TSDB: wrong arguments")
            return series[key][::-1][: int(count)]
    return Exception(f"ERR unknown command '{name}'")


@contextmanager
def time_series_server(series: Series) -> Iterator[str]:
    """The address of a server that holds these series."""

    class Client(StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.readline():
                command = []
                for _ in range(int(head[1:])):
                    size = int(self.rfile.readline()[1:])
                    command.append(self.rfile.read(size + 2)[:-2].decode())
                self.wfile.write(_told(_answer(series, command)))

    with ThreadingTCPServer(("127.0.0.1", 0), Client) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        finally:
            server.shutdown()
            thread.join()
