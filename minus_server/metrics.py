"""The figures for Prometheus, on a port of their own.

With several processes each writes into a file of its own, by its number: one that is started
again goes on where the last one was, and the parent tells the sum.
"""

import logging
import os
import platform
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socket import AF_INET, AF_INET6
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    multiprocess,
    values,
)
from prometheus_client.exposition import choose_encoder

from minus_server import __version__
from minus_server.errors import CannotServe
from minus_server.meter import Meter

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
_IDLE = 10  # seconds that a connection may say nothing
_LOG = logging.getLogger(__name__)


def share(folder: Path, number: int) -> None:
    """Count into files of this folder, as the process of this number.

    Before the first `Prometheus` is made. No two processes have one number at the same time.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


def forget(folder: Path, number: int) -> None:
    """What a process that is gone had under way is no more; what it had counted stays."""
    multiprocess.mark_process_dead(number, str(folder))  # type: ignore[no-untyped-call]


class Prometheus(Meter):
    """Counts for Prometheus.

    folder   where several processes count, None for one
    """

    def __init__(self, folder: Path | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        mine: CollectorRegistry | None = self.registry
        if folder is None:
            ProcessCollector(registry=self.registry)
        else:
            mine = None
            multiprocess.MultiProcessCollector(self.registry, str(folder))  # type: ignore[no-untyped-call]
        self._make_web(mine)
        self._make_parts(mine)
        build = Gauge(
            "minus_build_info",
            "1; the labels tell what runs.",
            ["version", "python"],
            registry=mine,
            multiprocess_mode="max",
        )
        build.labels(__version__, platform.python_version()).set(1)

    def _make_web(self, registry: CollectorRegistry | None) -> None:
        self._requests = Counter(
            "minus_http_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._durations = Histogram(
            "minus_http_request_duration_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._received = Counter(
            "minus_http_received_bytes", "Bytes of requests' bodies.", registry=registry
        )
        self._sent = Counter(
            "minus_http_sent_bytes", "Bytes of answers' bodies.", registry=registry
        )
        self._under_way = _gauge("minus_http_requests_in_progress", "Requests under way.", registry)
        self._uploads = _gauge(
            "minus_uploads_in_progress",
            "Requests under way that have brought more than 64 KiB.",
            registry,
        )
        self._by_route: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def _make_parts(self, registry: CollectorRegistry | None) -> None:
        self._refused = Counter(
            "minus_sign_ins_refused", "Wrong passwords, and tries too soon.", registry=registry
        )
        self._connections = _gauge(
            "minus_catalog_connections_in_use", "Connections to the catalog in use.", registry
        )
        self._waits = Histogram(
            "minus_catalog_wait_seconds",
            "Until a transaction had its connection, and in SQLite its turn to write.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._catalog_errors = Counter(
            "minus_catalog_errors", "Requests that the catalog failed.", registry=registry
        )
        self._store_errors = Counter(
            "minus_store_errors", "Requests that the store of bytes failed.", registry=registry
        )

    def request_begun(self) -> None:
        self._under_way.inc()

    def request_ended(
        self, method: str, route: str, status: int, seconds: float, received: int, sent: int
    ) -> None:
        self._under_way.dec()
        key = method, route, status
        if (found := self._by_route.get(key)) is None:
            found = self._requests.labels(method, route, str(status)), self._durations.labels(route)
            self._by_route[key] = found
        count, durations = found
        count.inc()
        durations.observe(seconds)
        if received:
            self._received.inc(received)
        if sent:
            self._sent.inc(sent)

    def upload_begun(self) -> None:
        self._uploads.inc()

    def upload_ended(self) -> None:
        self._uploads.dec()

    def sign_in_refused(self) -> None:
        self._refused.inc()

    def connection_taken(self, by: int) -> None:
        self._connections.inc(by)

    def connection_waited(self, seconds: float) -> None:
        self._waits.observe(seconds)

    def catalog_failed(self) -> None:
        self._catalog_errors.inc()

    def store_failed(self) -> None:
        self._store_errors.inc()


def _gauge(name: str, about: str, registry: CollectorRegistry | None) -> Gauge:
    """Something under way: the sum over the processes that live."""
    return Gauge(name, about, registry=registry, multiprocess_mode="livesum")


class Server(ThreadingMixIn, TCPServer):
    """Answers `GET /metrics`, beside the service and never through it."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, place: tuple[str, int], registry: CollectorRegistry) -> None:
        """Listen. Raises CannotServe"""
        host, port = place
        self.address_family = AF_INET6 if ":" in host else AF_INET
        self.registry = registry
        try:
            super().__init__(place, _Handler)
        except OSError as error:
            why = error.strerror or error
            raise CannotServe(f"cannot listen for metrics on {host}:{port}: {why}") from None
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.server_address[1]}/metrics"
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, _request: Any, _client: Any) -> None:
        """Who scrapes may leave when it likes."""
        _LOG.debug("A scrape of the metrics failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One connection of whoever scrapes."""

    timeout = _IDLE
    server: Server

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404)
            return
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        body = encode(self.server.registry)
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing to standard error."""
