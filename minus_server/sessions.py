"""The rules for sessions: who is signed in on the pages and in API v1, by a cookie."""

from minus_server import names
from minus_server.accounts import Clock, hash_secret
from minus_server.catalog import Catalog, IntegrityError, User
from minus_server.errors import NotSignedIn

SESSION_SECONDS = 30 * 24 * 3600
LINK_SECONDS = 60  # for a one-time link to be opened


class Sessions:
    """Sessions, each known by a secret of which the catalog keeps the hash."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock

    def open(self, user: User) -> str:
        """Begin a session. -> its secret. Raises NotSignedIn where the account is gone"""
        return self._add(user.n, SESSION_SECONDS, once=False)

    def user(self, secret: str) -> User | None:
        """Whose session it is; None when it is nobody's or has ended."""
        with self._catalog.read() as rows:
            return rows.session_user(hash_secret(secret), int(self._clock()))

    def end(self, secret: str) -> None:
        """End a session at once; harmless when there is none."""
        with self._catalog.write() as rows:
            rows.delete_session(hash_secret(secret))

    def link(self, user: User) -> str:
        """Make the secret of a link that signs in once, soon. -> it"""
        return self._add(user.n, LINK_SECONDS, once=True)

    def trade(self, secret: str) -> str | None:
        """Use a one-time link up. -> the secret of a session, None where the link is worth none"""
        with self._catalog.write() as rows:
            user_n = rows.take_link(hash_secret(secret), int(self._clock()))
        return None if user_n is None else self._add(user_n, SESSION_SECONDS, once=False)

    def _add(self, user_n: int, seconds: int, *, once: bool) -> str:
        secret, now = names.new_secret(), int(self._clock())
        try:
            with self._catalog.write() as rows:
                rows.delete_old_sessions(now)
                rows.add_session(
                    token_hash=hash_secret(secret), user_n=user_n, once=once, expires=now + seconds
                )
        except IntegrityError:
            raise NotSignedIn("The account was deleted meanwhile.") from None
        return secret
