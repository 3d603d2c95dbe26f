"""One process that listens: from the first connection it accepts to the last answer."""

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import Callable
from contextlib import closing, suppress

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from sqlalchemy.exc import SQLAlchemyError

from minus_server.app import Activity, build
from minus_server.errors import CannotServe
from minus_server.health import Health
from minus_server.leases import BEAT_SECONDS
from minus_server.meter import Meter
from minus_server.options import Options
from minus_server.service import Service
from minus_server.tus import Turns
from minus_server.watch import Watch

STOP_SECONDS = 30  # what transfers in flight get


class Process:
    """Serves until a signal or idleness.

    signals  that stop it
    port     that is held for it: others may listen on it too, but nobody else's
    begun    called once it accepts connections
    ending   called when it is told to stop
    """

    def __init__(
        self,
        options: Options,
        port: int,
        service: Service,
        meter: Meter,
        *,
        begun: Callable[[], None],
        ending: Callable[[], None],
        signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT),
    ) -> None:
        self._options, self._port, self._service = options, port, service
        self._signals = signals
        self._begun, self._ending = begun, ending
        self._activity = Activity()
        app = build(
            service,
            options.base_of(port),
            self._activity,
            only_host=options.embedded,
            meter=meter,
        )
        self._turns: Turns = app.state.turns
        self._health = Health(app, service)
        self._server = Server(
            Watch(self._health, options.policy, meter),
            address=options.host,
            port=port,
            interface=Interfaces.ASGINL,
            websockets=False,
            log_level=LogLevels.error,
            log_dictconfig=options.log.config(),
            http=HTTPModes.http1,  # of HTTP/2 the head has no limit
            http1_settings=HTTP1Settings(max_buffer_size=1 << 20),
            ssl_cert=options.tls and options.tls[0],
            ssl_key=options.tls and options.tls[1],
            ssl_protocol_min=SSLProtocols.tls12,
        )

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.add_signal_handler(number, self._stop)
        serving = loop.create_task(self._server.serve())
        await self._accepts(serving)
        self._begun()
        beside = [
            loop.create_task(job) for job in (self._watch_idleness(), self._beat(), self._end_cut())
        ]
        await serving
        for task in beside:
            task.cancel()

    async def _accepts(self, serving: "asyncio.Task[None]") -> None:
        """Ask until this very process has answered: on a shared port another one may."""
        while not self._health.asked:
            if serving.done():
                await serving
                raise CannotServe(f"cannot listen on {self._options.address_of(self._port)}")
            with suppress(OSError):
                await self._ask()
            await asyncio.sleep(0.005)

    async def _ask(self) -> None:
        context = None
        if self._options.tls is not None:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(self._options.host, self._port, ssl=context)
        with closing(writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            await reader.read()

    async def _watch_idleness(self) -> None:
        """End by itself when nothing has been asked for long enough."""
        if (limit := self._options.idle_exit) is None:
            return
        while (idle := self._activity.idle_seconds()) < limit:
            await asyncio.sleep(limit - idle)
        self._stop()

    async def _beat(self) -> None:
        """Every second, tell other processes what this one works on, and hear what they want."""
        if self._service.library.leases.alone:
            return
        while True:
            with suppress(SQLAlchemyError):  # the next second will do
                self._turns.give_up(await asyncio.to_thread(self._service.library.leases.beat))
            await asyncio.sleep(BEAT_SECONDS)

    async def _end_cut(self) -> None:
        """Clear away behind processes that died. It may wait, as a beat must not."""
        if self._service.library.leases.alone:
            return
        while True:
            with suppress(SQLAlchemyError):
                await asyncio.to_thread(self._service.resumables.end_cut)
            await asyncio.sleep(BEAT_SECONDS)

    def _stop(self) -> None:
        """Be ready no more, and soon accept no more."""
        if self._health.is_stopping:
            return
        self._health.is_stopping = True
        self._ending()
        asyncio.get_running_loop().call_later(self._options.drain, self._close)

    def _close(self) -> None:
        """Accept no more; what is under way may finish, for a while."""
        self._server.stop()  # type: ignore[no-untyped-call]
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._cut)

    def _cut(self) -> None:
        """End although transfers are under way: none of them was acknowledged."""
        self._service.close()
        sys.stdout.flush()
        os._exit(0)
