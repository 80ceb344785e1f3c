"""A network path to a server: `python -m sandbox.clients.relay`; facts as JSON on standard input, its port on output.

What goes in comes out later, in order, both ways: the delay of a line, with jitter. Bytes are not touched.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

__all__ = ["main"]

_PIECE = 65_536


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float, jitter_s: float, rng: random.Random
) -> None:
    """Pass on what comes, each piece no earlier than its delay after it came."""
    line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1024)
    clock = asyncio.get_running_loop().time

    async def deliver() -> None:
        while True:
            due, piece = await line.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not piece:
                return
            writer.write(piece)
            await writer.drain()

    delivery = asyncio.create_task(deliver())
    try:
        while True:
            piece = await reader.read(_PIECE)
            await line.put((clock() + delay_s + rng.random() * jitter_s, piece))
            if not piece:
                break
        await delivery
    except OSError:
        pass  # one end hung up: so does the other
    finally:
        delivery.cancel()
        writer.close()


async def _serve(port: int, to_port: int, delay_s: float, jitter_s: float) -> None:
    rng = random.Random(to_port)

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward, back = await asyncio.open_connection("127.0.0.1", to_port)
        except OSError:
            writer.close()
            return
        ways = (_carry(reader, back, delay_s, jitter_s, rng), _carry(onward, writer, delay_s, jitter_s, rng))
        await asyncio.gather(*ways)

    server = await asyncio.start_server(join, "127.0.0.1", port)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Be the path until ended."""
    facts = json.loads(sys.stdin.readline())
    delay_s, jitter_s = facts["delay_ms"] / 1000.0, facts["jitter_ms"] / 1000.0
    asyncio.run(_serve(facts.get("port", 0), facts["to_port"], delay_s, jitter_s))


if __name__ == "__main__":
    main()
