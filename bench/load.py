"""`python -m bench.load WORK`: requests a second and their 99th percentile, and what is busy.

A list of 50 files, a file of 1 KB got, one of 1 KB put; by 1, 8 and 64 clients, each with a
connection that stays; on SQLite and on PostgreSQL, and there with two processes. In the same minute
a yardstick: nginx with a file of 1 KB under the same load, and flushes to the disk one by one.
With --profile, where one process spends its time under 8 clients; needs py-spy.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from bench.measure import BenchError, cpu_seconds
from bench.peers import nginx, program
from bench.profiling import record, shares
from bench.scaled import BACKENDS, PASSWORD, Running, Wire, backend, rules, served

CLIENTS = 1, 8, 64
SECONDS = 4
WARM_SECONDS = 1
_FILES = 50
_SIZE = 1_000
_FLUSHES = 200
_PACKAGES = "minus_server", "sqlalchemy", "psycopg", "starlette", "granian", "anyio", "asyncio"
_LUA = """\
local number = 0
local thread = 0
local threads = 0
function setup(t) threads = threads + 1; t:set("mine", threads) end
function init(args) number = 0 end
function request()
  number = number + 1
  local path = "{path}"
  if "{method}" == "PUT" then
    path = string.format("{path}/%s-%d-%d.bin", "{label}", mine, number)
  end
  return wrk.format("{method}", path, {{["Authorization"] = "{token}"}}, {body})
end
function done(summary, latency, requests)
  local bad = summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.stderr:write(string.format(
    '{{"requests": %d, "microseconds": %d, "p99": %d, "refused": %d, "broken": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(99), summary.errors.status, bad))
end
"""


@dataclass(frozen=True)
class Found:
    """What one load gave. `cpu` is cores in use, by who used them."""

    clients: int
    each_second: float
    p99: float  # seconds
    cpu: Mapping[str, float]


def _wrk(folder: Path, url: str, clients: int, script: str, seconds: int) -> dict[str, Any]:
    path = folder / "load.lua"
    path.write_text(script)
    threads = min(2, clients)
    command = [program("wrk"), f"-t{threads}", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s"]
    done = subprocess.run(
        [*command, "--latency", "-s", str(path), url], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"wrk: {done.stdout}{done.stderr}")
    found: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    if found["refused"] or found["broken"]:
        raise BenchError(f"wrk: refused or broken: {found}")
    return found


def _cpu(pids: Mapping[str, int]) -> dict[str, float]:
    return {who: cpu_seconds(pid) for who, pid in pids.items()}


def _load(
    work: Path, port: int, pids: Mapping[str, int], script: dict[str, str]
) -> Iterator[Found]:
    url = f"http://127.0.0.1:{port}"
    numbers = count(time.time_ns())
    for clients in CLIENTS:
        for seconds in (WARM_SECONDS, SECONDS):
            lua = _LUA.format(**{**script, "label": str(next(numbers))})
            before, began = _cpu(pids), time.monotonic()
            found = _wrk(work, url, clients, lua, seconds)
            took = time.monotonic() - began
            after = _cpu(pids)
        cpu = {who: (after[who] - before[who]) / took for who in pids}
        rate = found["requests"] / found["microseconds"] * 1e6
        yield Found(clients, rate, found["p99"] / 1e6, cpu)


def _fill(work: Path, kind: str) -> dict[str, Any]:
    """A folder of files, made once. -> where it is"""
    path = work / kind / "load.json"
    with backend(kind, work) as places:
        if not path.exists():
            with rules(places) as service:
                client = service.accounts.add_client("load")
                service.accounts.add_user("load", PASSWORD, 1 << 50)
            with served(places) as running:
                wire = Wire(running.port, running.token("load", client))
                made = {}
                for name in ("List", "Put"):
                    asked = f"/api/v2/users/load/folders?name={name}&is_public=false"
                    made[name] = json.loads(wire.ask("POST", asked, b"").body)["id"]
                for number in range(_FILES):
                    target = f"/api/v2/folders/{made['List']}/files/{number}.bin"
                    row = json.loads(wire.ask("PUT", target, b"x" * _SIZE).body)
                wire.close()
            path.write_text(json.dumps({"client": client, "file": row["id"], **made}))
    known: dict[str, Any] = json.loads(path.read_text())
    return known


def _scripts(known: dict[str, Any], token: str) -> Iterator[tuple[str, dict[str, str]]]:
    lists = f"/api/v2/folders/{known['List']}/files?per_page=50"
    common = {"token": f"Bearer {token}", "body": "nil", "method": "GET"}
    yield "list", {**common, "path": lists}
    yield "get", {**common, "path": f"/i{known['file']}"}
    put = {"method": "PUT", "body": f'string.rep("x", {_SIZE})'}
    yield "put", {**common, **put, "path": f"/api/v2/folders/{known['Put']}/files"}


def _flushes(folder: Path) -> float:
    """How many times a second a few bytes get to this disk, one after the other."""
    path = folder / "flushed"
    with path.open("wb", buffering=0) as file:
        began = time.monotonic()
        for _ in range(_FLUSHES):
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
        took = time.monotonic() - began
    path.unlink()
    return _FLUSHES / took


def _yardstick(work: Path) -> str:
    root = work / "root"
    root.mkdir(exist_ok=True)
    (root / "small").write_bytes(b"x" * _SIZE)
    folder = work / "nginx"
    shutil.rmtree(folder, ignore_errors=True)
    with nginx(folder, root, os.environ) as peer:
        port = int(peer.address.rpartition(":")[2])
        script = {"method": "GET", "path": "/small", "token": "", "body": "nil"}
        rates = [found.each_second for found in _load(work, port, {}, script)]
    shown = ", ".join(f"{rate:,.0f}" for rate in rates)
    one, five, _ = os.getloadavg()
    return (
        f"nginx, 1 KB: {shown} requests/s; {_flushes(work):,.0f} flushes/s;"
        f" load {one:.1f}, {five:.1f}"
    )


def _rows(work: Path, kind: str, workers: int) -> Iterator[str]:
    known = _fill(work, kind)
    options = () if workers == 1 else ("--workers", str(workers))
    with backend(kind, work) as places, served(places, *options) as running:
        token = running.token("load", tuple(known["client"]))
        pids = _pids(running, work, kind)
        for what, script in _scripts(known, token):
            for found in _load(work, running.port, pids, script):
                busy = ", ".join(f"{who} {cores:.2f}" for who, cores in found.cpu.items())
                yield (
                    f"| {what} | {kind} | {workers} | {found.clients} | {found.each_second:,.0f}"
                    f" | {found.p99 * 1000:.1f} | {busy} |"
                )


def _profiles(work: Path, kind: str) -> Iterator[str]:
    """Of each load, what a process's time goes to."""
    known, samples = _fill(work, kind), work / "samples"
    with backend(kind, work) as places, served(places) as running:
        token = running.token("load", tuple(known["client"]))
        for what, script in _scripts(known, token):
            lua = _LUA.format(**{**script, "label": str(time.time_ns())})
            spy = record(running.pid, samples, "--gil")  # who runs, not who waits
            if spy is None:
                raise BenchError("--profile needs py-spy")
            _wrk(work, f"http://127.0.0.1:{running.port}", 8, lua, 2 * SECONDS)
            spy.send_signal(signal.SIGINT)  # it writes what it has
            spy.wait()
            parts = (f"{name} {share:.0%}" for name, share in shares(samples, _PACKAGES).items())
            yield f"| {what} | {kind} | {', '.join(parts)} |"


def _pids(running: Running, work: Path, kind: str) -> dict[str, int]:
    pids = {"service": running.pid}
    if kind == "postgres":
        told = (work / kind / "rows" / "postmaster.pid").read_text()
        pids["PostgreSQL"] = int(told.split()[0])
    return pids


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and what was started ends
    options.work.mkdir(parents=True, exist_ok=True)
    if options.profile:
        for kind in BACKENDS:
            for line in _profiles(options.work, kind):
                print(line, flush=True)
        return 0
    print("| | rows | processes | clients | requests/s | 99 %, ms | cores in use |")
    print("| --- | --- | ---: | ---: | ---: | ---: | --- |", flush=True)
    for kind, workers in ((BACKENDS[0], 1), (BACKENDS[1], 1), (BACKENDS[1], 2)):
        for line in _rows(options.work, kind, workers):
            print(line, flush=True)
        print(_yardstick(options.work), file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
