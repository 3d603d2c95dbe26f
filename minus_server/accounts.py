"""The rules for accounts: users, API clients, tokens, who follows whom, messages."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import argon2
import argon2.exceptions

from minus_server import names
from minus_server.catalog import Catalog, Client, IntegrityError, Message, Token, User
from minus_server.errors import (
    BadRequest,
    Forbidden,
    GrantRefused,
    NotFound,
    NotSignedIn,
    TooMany,
)

if TYPE_CHECKING:
    from minus_server.throttle import SignIns

ACCESS_SECONDS = 3600
REFRESH_SECONDS = 180 * 24 * 3600
DEFAULT_QUOTA = 1 << 40  # bytes
MESSAGES_AN_HOUR = 1_000  # of one user: no quota counts them
_HOUR = 3600
WRONG_PASSWORD = "The username or the password is wrong."

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what the token allows."""

    user: User
    scopes: frozenset[str]

    def need(self, scope: str) -> None:
        """Raises Forbidden when the token was given out without this scope."""
        if scope not in self.scopes:
            raise Forbidden(f"This needs a token with the scope {scope}.")

    @classmethod
    def of_session(cls, user: User) -> "Caller":
        """Somebody who is signed in on the pages: may do all that a token can allow."""
        return cls(user, frozenset(names.SCOPES))

    @property
    def sees_private(self) -> bool:
        """Programs that asked for `upload_new` or `modify_all` alone listed their folders too."""
        return bool(self.scopes & {"read_all", "upload_new", "modify_all"})


@dataclass(frozen=True, slots=True)
class Grant:
    """A pair of tokens, given out this once: the catalog keeps only their hashes."""

    access_token: str
    refresh_token: str
    scope: str
    expires_in: int = ACCESS_SECONDS


def hash_secret(secret: str) -> str:
    """Enough for a secret of 256 bits; passwords get Argon2."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _taken() -> BadRequest:
    return BadRequest("This username is already taken.")


class Accounts:
    """Users and what they sign in with."""

    def __init__(self, catalog: Catalog, clock: Clock, sign_ins: "SignIns") -> None:
        self._catalog = catalog
        self._clock = clock
        self._sign_ins = sign_ins

    def _now(self) -> int:
        return int(self._clock())

    # --- users and clients, for the operator ---

    def add_user(
        self, name: str, password: str, quota: int = DEFAULT_QUOTA, email: str = ""
    ) -> None:
        """Make an account. Raises BadRequest where the name is taken or no name."""
        known = names.username(name)
        secret = self._argon2.hash(names.password(password))
        try:
            self._add_user(known, secret, quota, email)
        except IntegrityError:
            raise _taken() from None

    def _add_user(
        self, name: str, password_hash: str | None, quota: int = DEFAULT_QUOTA, email: str = ""
    ) -> int:
        with self._catalog.write() as rows:
            return rows.add_user(
                username=name,
                slug=names.slug(name),
                display_name="",
                email=email,
                password_hash=password_hash,
                quota=quota,
                created=self._now(),
            )

    def check_password(self, name: str, password: str, address: str) -> User | None:
        """The account that a username and a password open; None where they open none.

        address   where they come from. Raises TooMany after wrong ones from there.
        """
        slug = names.slug(name)
        self._sign_ins.begin(slug, address)
        right = False
        try:
            with self._catalog.read() as rows:
                user = rows.user_by_slug(slug)
            right = self._check_password(user, password)
        finally:
            self._sign_ins.end(slug, address, right=right)
        return user if right else None

    def set_password(self, name: str, password: str) -> None:
        """Change a password; whoever was signed in with the old one is signed out."""
        secret = self._argon2.hash(names.password(password))
        with self._catalog.write() as rows:
            user = rows.user_by_slug(names.slug(name))
            if user is None:
                raise NotFound(f"There is no user {name}.")
            rows.change_user(user.n, {"password_hash": secret})
            rows.delete_tokens_of(user.n)
            rows.delete_sessions_of(user.n)

    def register(
        self, name: str, email: str, passwords: tuple[str, str], quota: int = DEFAULT_QUOTA
    ) -> dict[str, str]:
        """Make an account for who asks, who typed the password twice.

        -> why not, by field: username, password, email
        """
        first, second = passwords
        refused: dict[str, str] = {}

        def checked(field: str, check: Callable[[], object]) -> None:
            try:
                check()
            except BadRequest as error:
                refused[field] = str(error)

        if not name.strip():
            refused["username"] = "A username is required."
        else:
            checked("username", lambda: self._free(name.strip()))
        if not first:
            refused["password"] = "A password is required."
        elif first != second:
            refused["password"] = "The password does not match."
        else:
            checked("password", lambda: names.password(first))
        checked("email", lambda: names.email(email.strip()))
        if not refused:
            checked("username", lambda: self.add_user(name.strip(), first, quota, email.strip()))
        return refused

    def _free(self, name: str) -> None:
        """Raises BadRequest for a name that is none or is taken."""
        with self._catalog.read() as rows:
            if rows.user_by_slug(names.slug(names.username(name))) is not None:
                raise _taken()

    def users(self) -> list[User]:
        """Every account, in order of creation."""
        with self._catalog.read() as rows:
            return rows.users()

    def add_client(self, name: str, maker: User | None = None) -> tuple[str, str]:
        """Let a program ask for tokens; who made it may revoke it. -> API key, API secret"""
        key, secret = names.new_id(), names.new_secret()
        with self._catalog.write() as rows:
            rows.add_client(
                id=key,
                name=names.text(name),
                secret_hash=hash_secret(secret),
                maker_n=maker.n if maker else None,
                created=self._now(),
            )
        return key, secret

    def clients(self, maker: User) -> list[Client]:
        """The API clients that a user made."""
        with self._catalog.read() as rows:
            return rows.clients_made_by(maker.n)

    def revoke_client(self, maker: User, key: str) -> None:
        """End an API client and every token it was given. Raises NotFound for another's."""
        with self._catalog.write() as rows:
            if not rows.delete_client(key, maker.n):
                raise NotFound("You have no API client with this key.")

    def every_client(self) -> list[tuple[Client, str]]:
        """Every API client, each with the name of its user, if it has one."""
        with self._catalog.read() as rows:
            return rows.clients()

    def drop_client(self, key: str) -> None:
        """End an API client and every token it was given. Raises NotFound."""
        with self._catalog.write() as rows:
            if not rows.drop_client(key):
                raise NotFound("There is no API client with this key.")

    def owner_client(self, name: str) -> tuple[str, str]:
        """Give the folder's owner a client that signs in as its account, which it makes if needed.

        The secret is new each time, and earlier tokens end: who listens on the port after us
        and is sent one can do nothing with it. -> API key, API secret
        """
        with self._catalog.read() as rows:
            user = rows.user_by_slug(names.slug(name))
        user_n = user.n if user else self._add_user(names.username(name), None)
        key, secret = names.new_id(), names.new_secret()
        with self._catalog.write() as rows:
            rows.delete_tokens_of(user_n)
            client = rows.client_of(user_n)
            if client is None:
                rows.add_client(
                    id=key,
                    name="the owner of this folder",
                    secret_hash=hash_secret(secret),
                    owner_n=user_n,
                    created=self._now(),
                )
                return key, secret
            rows.change_client(client.n, {"secret_hash": hash_secret(secret)})
            return client.id, secret

    # --- tokens ---

    @cached_property
    def _argon2(self) -> argon2.PasswordHasher:
        return argon2.PasswordHasher()

    @cached_property
    def _nobody(self) -> str:
        """A hash to check where the user is unknown, so that the answer takes as long."""
        return self._argon2.hash(names.new_secret())

    def _check_password(self, user: User | None, password: str) -> bool:
        known = user.password_hash if user else None
        if len(password) > names.MAX_PASSWORD:
            return False
        try:
            self._argon2.verify(known or self._nobody, password)
        except (argon2.exceptions.VerificationError, UnicodeEncodeError):
            return False
        return known is not None

    def _client(self, client_id: str, client_secret: str) -> Client:
        with self._catalog.read() as rows:
            client = rows.client(client_id)
        expected = client.secret_hash if client else hash_secret("")
        if not hmac.compare_digest(expected, hash_secret(client_secret)) or client is None:
            raise GrantRefused("invalid_client", "The API key or its secret is wrong.")
        return client

    def sign_in(
        self,
        client_id: str,
        client_secret: str,
        username: str,
        password: str,
        scope: str,
        address: str,
    ) -> Grant:
        """Give tokens for a password (RFC 6749 section 4.3) that came from this address."""
        client = self._client(client_id, client_secret)
        user = self.check_password(username, password, address)
        if user is None:
            raise GrantRefused("invalid_grant", WRONG_PASSWORD)
        return self._first_grant(client, user.n, scope)

    def sign_in_owner(self, client_id: str, client_secret: str, scope: str) -> Grant:
        """Give tokens to a client that stands for one account (RFC 6749 section 4.4)."""
        client = self._client(client_id, client_secret)
        if client.owner_n is None:
            raise GrantRefused("unauthorized_client", "This client needs a user's password.")
        return self._first_grant(client, client.owner_n, scope)

    def refresh(self, client_id: str, client_secret: str, token: str, scope: str) -> Grant:
        """Give new tokens for a refresh token (RFC 6749 section 6).

        The old one stays good until a successor is used: an answer that was lost on its way
        locks nobody out, and two processes that refresh at once both go on. Used after that,
        it was copied: everything that came of that sign-in ends.
        """
        client = self._client(client_id, client_secret)
        refused = GrantRefused("invalid_grant", "The refresh token is not valid.")
        with self._catalog.write() as rows:
            old = rows.token_by_refresh(hash_secret(token))
            if old is None or old.client_n != client.n or old.refresh_expires < self._now():
                raise refused
            if rows.has_used_child(old.n):
                rows.delete_family(old.family)
            else:
                rows.mark_used(old.n)
                return self._grant(rows.add_token, old, client.n, old.user_n, scope)
        raise refused

    def _first_grant(self, client: Client, user_n: int, scope: str) -> Grant:
        with self._catalog.write() as rows:
            rows.delete_old_tokens(self._now())
            return self._grant(rows.add_token, None, client.n, user_n, scope)

    def _grant(
        self,
        add_token: Callable[..., None],
        old: Token | None,
        client_n: int,
        user_n: int,
        scope: str,
    ) -> Grant:
        """Make a pair of tokens of the asked scope, never wider than that of the old pair."""
        asked = names.scopes(scope)
        if old is not None:
            held = names.scopes(old.scope)
            asked = (asked & held) if scope.strip() else held
        if not asked:
            raise GrantRefused("invalid_scope", f"The scopes are {', '.join(names.SCOPES)}.")
        grant = Grant(names.new_secret(), names.new_secret(), scope or " ".join(sorted(asked)))
        now = self._now()
        add_token(
            family=old.family if old else names.new_id(),
            parent_n=old.n if old else None,
            access_hash=hash_secret(grant.access_token),
            refresh_hash=hash_secret(grant.refresh_token),
            user_n=user_n,
            client_n=client_n,
            scope=" ".join(sorted(asked)),
            used=False,
            access_expires=now + ACCESS_SECONDS,
            refresh_expires=now + REFRESH_SECONDS,
        )
        return grant

    def caller(self, token: str) -> Caller:
        """Tell whose access token this is. Raises NotSignedIn when it is nobody's."""
        with self._catalog.read() as rows:
            found = rows.token_by_access(hash_secret(token))
        if found is None or found[0].access_expires <= self._now():
            raise NotSignedIn("The access token is not valid or has expired.")
        row, user = found
        if not row.used:
            with self._catalog.write() as rows:
                rows.mark_used(row.n)
        return Caller(user, frozenset(row.scope.split()))

    # --- profiles, following, messages ---

    def user(self, slug: str) -> User:
        """Raises NotFound when nobody has this slug."""
        with self._catalog.read() as rows:
            user = rows.user_by_slug(names.slug(slug))
        if user is None:
            raise NotFound("There is no such user.")
        return user

    def own(self, caller: Caller, slug: str) -> User:
        """The caller's own account, by slug. Raises Forbidden where it is another's."""
        user = self.user(slug)
        if user.n != caller.user.n:
            raise Forbidden("Only the user's own token may do this.")
        return user

    def change_profile(self, caller: Caller, changes: dict[str, str]) -> User:
        """Set display_name, description or email."""
        caller.need("modify_user")
        with self._catalog.write() as rows:
            rows.change_user(caller.user.n, changes)
            return rows.user(caller.user.n) or caller.user

    def follow(self, caller: Caller, slug: str, other_slug: str) -> User:
        """Follow another user; doing it twice is doing it once."""
        caller.need("modify_user")
        user, other = self.own(caller, slug), self.user(other_slug)
        if other.n == user.n:
            raise BadRequest("Nobody follows themselves.")
        with self._catalog.write() as rows:
            if rows.follow(user.n, other.n):
                rows.add_to_user(other.n, "karma", 1)
        return self.user(other.slug)

    def unfollow(self, caller: Caller, slug: str, other_slug: str) -> None:
        """Raises NotFound where the user did not follow the other."""
        caller.need("modify_user")
        user, other = self.own(caller, slug), self.user(other_slug)
        with self._catalog.write() as rows:
            if not rows.unfollow(user.n, other.n):
                raise NotFound("You do not follow this user.")
            rows.add_to_user(other.n, "karma", -1)

    def follows(self, user: User, other: User) -> bool:
        """Tell whether one user follows another."""
        with self._catalog.read() as rows:
            return rows.follows(user.n, other.n)

    def slugs_around(self, user: User, limit: int) -> tuple[list[str], list[str]]:
        """The first followers of a user, and the first whom the user follows, by slug."""
        with self._catalog.read() as rows:
            return rows.slugs_around(user.n, limit)

    def followers(self, slug: str, offset: int, limit: int) -> tuple[int, list[User]]:
        """A page of those who follow the user. -> how many in all, the page"""
        user = self.user(slug)
        with self._catalog.read() as rows:
            return rows.followers(user.n, offset, limit)

    def following(self, slug: str, offset: int, limit: int) -> tuple[int, list[User]]:
        """A page of those whom the user follows. -> how many in all, the page"""
        user = self.user(slug)
        with self._catalog.read() as rows:
            return rows.following(user.n, offset, limit)

    def messages(
        self, caller: Caller, offset: int, limit: int, other_slug: str | None = None
    ) -> tuple[int, list[Message]]:
        """A page of the caller's messages, or of the thread with one user, then read."""
        caller.need("read_all")
        other = self.user(other_slug) if other_slug is not None else None
        me = caller.user.n
        if other is None:
            with self._catalog.read() as rows:
                return rows.messages_of(me, offset, limit)
        with self._catalog.write() as rows:
            page = rows.messages_of(me, offset, limit, other.n)
            rows.mark_read(me, other.n)
        return page

    def send_message(self, caller: Caller, other_slug: str, body: str) -> Message:
        """Write to another user."""
        caller.need("modify_user")
        other, now = self.user(other_slug), self._now()
        with self._catalog.write() as rows:
            if not rows.count_up(f"messages {caller.user.n}", now, _HOUR, MESSAGES_AN_HOUR):
                raise TooMany("Too many messages; write again in an hour.")
            rows.add_message(
                sender_n=caller.user.n, target_n=other.n, body=body, read=False, created=now
            )
        return Message(body, False, now, caller.user.slug, other.slug)
