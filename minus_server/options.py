"""What `minus-server serve` was told."""

from dataclasses import dataclass, field
from pathlib import Path

from minus_server.logs import Style
from minus_server.places import Places
from minus_server.policy import Policy

MOST_DRAIN = 60


@dataclass(frozen=True)
class Options:
    """Where to serve what, and how.

    workers  processes that share the port; 1: this one
    drain    seconds that a stop goes on to accept, so that a proxy sees it coming
    foreign  serve though the bytes of the catalog's files are not where they should be
    metrics  host and port where the figures are told, None nowhere
    argv     the arguments that said all this
    """

    places: Places
    host: str = "127.0.0.1"
    port: int = 8642
    base_url: str | None = None
    policy: Policy = field(default_factory=Policy)
    idle_exit: float | None = None  # seconds without a request
    tls: tuple[Path, Path] | None = None  # certificate with its chain, key
    workers: int = 1
    drain: int = 0
    foreign: bool = False
    metrics: tuple[str, int] | None = None
    log: Style = field(default_factory=Style)
    argv: tuple[str, ...] = ()

    @property
    def data(self) -> Path:
        return self.places.data

    @property
    def embedded(self) -> bool:
        return self.policy.embedded

    def address_of(self, port: int) -> str:
        """Where it listens, as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{port}/"

    def base_of(self, port: int) -> str:
        """What every link begins with."""
        base = self.base_url or self.address_of(port)
        return base if base.endswith("/") else f"{base}/"
