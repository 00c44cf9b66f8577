"""How many single short texts a second a server answers, and how long each takes, the client beside it.

    python -m benchmarks.serving.throughput                      # trains the model first, half a minute
    python -m benchmarks.serving.throughput --workers 2 --rounds 5 --seconds 10

The client is wrk (apt-get install wrk) with one thread and so many connections that are kept alive; each asks
/v1/predict with one question of trec6 as soon as its last answer is there. Rounds of all numbers of
connections take turns. Beside it a client in Python, which asks one text after another. Run on a quiet
machine: server and client share its processors.
"""

import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.serving.running import Asked, arguments, keep, running, texts, trained

CONNECTIONS = (1, 4, 16, 32)
WARMING_SECONDS = 2
LONE_REQUESTS = 1000
SCRIPT = """
local bodies, i = {}, 0
for line in io.lines("%s") do bodies[#bodies + 1] = line end
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
request = function() i = i %% #bodies + 1; return wrk.format(nil, "/v1/predict", nil, bodies[i]) end
done = function(summary, latency)
  local e = summary.errors
  local form = 'JSON {"requests": %%d, "us": %%d, "p50": %%f, "p99": %%f, "max": %%f, "errors": %%d}\\n'
  io.write(string.format(form, summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), latency.max,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def wrk(server: Asked, script: Path, connections: int, seconds: int) -> dict[str, Any]:
    """One round. Times in milliseconds."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), server.address]
    before = server.cpu_seconds
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = re.search(r"^JSON (.*)$", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout
    told = json.loads(found[1])
    return {
        "requests_per_second": told["requests"] / told["us"] * 1e6,
        "p50_ms": told["p50"] / 1e3,
        "p99_ms": told["p99"] / 1e3,
        "max_ms": told["max"] / 1e3,
        "errors": told["errors"],
        "server_cpu_us_per_request": (server.cpu_seconds - before) / told["requests"] * 1e6,
        "load_average": os.getloadavg()[0],
    }


def lone_client(server: Asked, bodies: list[str]) -> dict[str, float]:
    """http.client, one connection. Milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    times = []
    for i in range(LONE_REQUESTS):
        begun = time.perf_counter()
        connection.request("POST", "/v1/predict", bodies[i], {"content-type": "application/json"})
        assert connection.getresponse().read()
        times.append(1e3 * (time.perf_counter() - begun))
    connection.close()
    times.sort()
    return {"p50_ms": statistics.median(times), "p99_ms": times[int(0.99 * len(times))]}


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median round by each number, with all of them."""
    names = ("requests_per_second", "p50_ms", "p99_ms", "server_cpu_us_per_request")
    middle = {name: statistics.median(each[name] for each in rounds) for name in names}
    return {**middle, "errors": sum(each["errors"] for each in rounds), "rounds": rounds}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    run = trained(given.run, given.data)
    bodies = [json.dumps({"text": text}) for text in texts(given.data)]
    rounds: dict[int, list[dict[str, Any]]] = {each: [] for each in CONNECTIONS}
    with tempfile.TemporaryDirectory() as folder, running(run, "--workers", given.workers) as server:
        lines, script = Path(folder) / "bodies.jsonl", Path(folder) / "ask.lua"
        lines.write_text("\n".join(bodies) + "\n")
        script.write_text(SCRIPT % lines)
        wrk(server, script, CONNECTIONS[-1], WARMING_SECONDS)
        for _ in range(given.rounds):
            for connections in CONNECTIONS:
                rounds[connections].append(wrk(server, script, connections, given.seconds))
        lone = lone_client(server, bodies)
    by_connections = {str(each): summary(found) for each, found in rounds.items()}
    for connections, found in by_connections.items():
        print(
            f"{connections:>3} connections  {found['requests_per_second']:7.0f} a second  "
            f"p50 {found['p50_ms']:6.2f} ms  p99 {found['p99_ms']:6.2f} ms  errors {found['errors']}"
        )
    name = "throughput" if given.workers == 1 else f"throughput_{given.workers}_workers"
    keep(name, {"workers": given.workers, "wrk": by_connections, "python_client": lone})


if __name__ == "__main__":
    main()
