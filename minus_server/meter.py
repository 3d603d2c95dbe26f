"""What is counted while the service runs. `Meter` counts nothing; `metrics.Prometheus` does."""


class Meter:
    """Whoever has something to count tells it here."""

    def request_begun(self) -> None:
        """One more is under way."""

    def request_ended(
        self, method: str, route: str, status: int, seconds: float, received: int, sent: int
    ) -> None:
        """One less is under way.

        route           the template, never the address
        received, sent  bytes of the bodies
        """

    def upload_begun(self) -> None:
        """A request turned out to bring a file."""

    def upload_ended(self) -> None:
        """Such a request has ended."""

    def sign_in_refused(self) -> None:
        """A password was wrong, or came too soon after wrong ones."""

    def connection_taken(self, by: int) -> None:
        """A connection to the catalog was taken (1) or given back (-1)."""

    def connection_waited(self, seconds: float) -> None:
        """So long did it take until a transaction had begun."""

    def catalog_failed(self) -> None:
        """The catalog did not do what a request needed."""

    def store_failed(self) -> None:
        """The store of bytes did not."""
