"""What ordinary clients notice of clients that are slow, large, broken or many.

    python -m benchmarks.serving.abuse --seconds 15

An ordinary client asks one text after another, first alone, then beside each kind of abuse. Its p50, p99 and
errors are told, and what became of the abusers.
"""

import http.client
import json
import random
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from benchmarks.serving.running import Running, arguments, keep, running, texts, trained

from grunlock.serving.server import allow_connections

IDLE = 2000
SLOW = 200
MAX_CONNECTIONS = 2500
HEAD = b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
BROKEN = (b'{"text": "a', b"\xff\xfe", b'{"text": "\\ud800"}', b"[1, 2", b"{" * 900, b'{"txt": 1}', b"NaN")

Abuse = Callable[[Running, threading.Event, "Counter[str]"], None]


def connected(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def idle(server: Running, stop: threading.Event, seen: "Counter[str]") -> None:
    """Connections that ask once and then say nothing."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(connected(server)) for _ in range(IDLE)]
        for each in sockets:
            each.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        for each in sockets:
            assert each.recv(1000).startswith(b"HTTP/1.1 200")
        seen["opened"] = IDLE
        stop.wait()
        seen["still open"] = sum(not is_closed(each) for each in sockets)


def slow(head: bytes, part: bytes) -> Abuse:
    """Connections that send a byte of headers or body now and then."""

    def abuse(server: Running, stop: threading.Event, seen: "Counter[str]") -> None:
        with ExitStack() as stack:
            sockets = [stack.enter_context(connected(server)) for _ in range(SLOW)]
            for each in sockets:
                each.sendall(head)
            while not stop.wait(0.5):
                for each in list(sockets):
                    try:
                        each.sendall(part)
                    except OSError:
                        sockets.remove(each)
            seen["still open"] = sum(not is_closed(each) for each in sockets)
            seen["opened"] = SLOW

    return abuse


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def broken(server: Running, stop: threading.Event, seen: "Counter[str]") -> None:
    """Bodies that are no JSON, no UTF-8, no question."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    while not stop.wait(0.002):
        connection.request("POST", "/v1/predict", random.choice(BROKEN), {"content-type": "application/json"})
        reply = connection.getresponse()
        reply.read()
        seen[str(reply.status)] += 1


def large(server: Running, stop: threading.Event, seen: "Counter[str]") -> None:
    """Bodies without a length that do not end."""
    part = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    while not stop.is_set():
        with connected(server) as connection:
            try:
                connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
                for _ in range(100):
                    connection.sendall(part)
            except OSError:
                pass
            try:
                seen[connection.recv(12).decode()[9:]] += 1
            except OSError:
                seen["closed"] += 1


def ordinary(server: Running, asked: list[str], seconds: float) -> dict[str, Any]:
    """One client, one request after another on a connection that is kept. Milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    times, errors = [], 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter()
        body = json.dumps({"text": random.choice(asked)})
        connection.request("POST", "/v1/predict", body, {"content-type": "application/json"})
        reply = connection.getresponse()
        reply.read()
        errors += reply.status != 200
        times.append(1e3 * (time.perf_counter() - begun))
    times.sort()
    middle, high = statistics.median(times), times[int(0.99 * len(times))]
    return {"requests": len(times), "errors": errors, "p50_ms": middle, "p99_ms": high, "max_ms": times[-1]}


def beside(server: Running, abuse: Abuse, asked: list[str], seconds: float) -> dict[str, Any]:
    stop, seen = threading.Event(), Counter[str]()
    thread = threading.Thread(target=abuse, args=(server, stop, seen))
    thread.start()
    time.sleep(2)  # until they are there
    found = ordinary(server, asked, seconds)
    stop.set()
    thread.join()
    return {**found, "abusers": dict(seen), "resident_bytes": server.resident_bytes}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    given = parser.parse_args()
    allow_connections(MAX_CONNECTIONS)
    asked = texts(given.data)
    abuses: dict[str, Abuse] = {
        "2,000 idle connections": idle,
        "200 slow headers": slow(HEAD, b"x: y\r\n"),
        "200 slow bodies": slow(HEAD + b"content-length: 1000\r\n\r\n", b" "),
        "broken bodies": broken,
        "endless bodies": large,
    }
    with running(trained(given.run, given.data), "--max-connections", MAX_CONNECTIONS) as server:
        ordinary(server, asked, 1)
        found = {"alone": ordinary(server, asked, given.seconds)}
        for name, abuse in abuses.items():
            found[name] = beside(server, abuse, asked, given.seconds)
        found["alone again"] = ordinary(server, asked, given.seconds)
    for name, row in found.items():
        rest = f"errors {row['errors']}  {row.get('abusers', '')}"
        print(f"{name:<24} p50 {row['p50_ms']:6.2f} ms  p99 {row['p99_ms']:7.2f} ms  {rest}")
    keep("abuse", {"seconds": given.seconds, "ordinary_client": found})
    sys.exit(any(row["errors"] for row in found.values()))


if __name__ == "__main__":
    main()
