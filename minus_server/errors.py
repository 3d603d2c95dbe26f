"""What the service refuses, each kind with the status and the word it has on the wire."""

from collections.abc import Mapping
from types import MappingProxyType


class Refused(Exception):
    """The request cannot be done; `str` says why, in words for the person who asked.

    status   HTTP status of the answer
    error    the machine's word for it, RFC 6749 and RFC 6750 where they have one
    file     the id or name of the file that is to blame, where there is one
    headers  more headers of the answer
    """

    status = 400
    error = "invalid_request"
    file: str | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, why: str, error: str | None = None) -> None:
        super().__init__(why)
        if error is not None:
            self.error = error


class BadRequest(Refused):
    """A field is missing or cannot be read."""


class DigestMismatch(Refused):
    """Other bytes came than the sender says it sent."""

    error = "digest_mismatch"


class NotSignedIn(Refused):
    """No token, or one that is not valid (any more)."""

    status = 401
    error = "invalid_token"


class Forbidden(Refused):
    """The token is good, but this is not within its scope or not its owner's."""

    status = 403
    error = "insufficient_scope"


class NotFound(Refused):
    """No such thing, or one that this caller must not know of."""

    status = 404
    error = "not_found"


class TimedOut(Refused):
    """The rest of the request's body did not come."""

    status = 408
    error = "timeout"


class OffsetMismatch(Refused):
    """The bytes of an upload do not go on where it ends, or another request goes on with it."""

    status = 409
    error = "offset_mismatch"


class UnknownVersion(Refused):
    """The request does not speak the version of tus that we do."""

    status = 412
    error = "unknown_version"


class UnsupportedType(Refused):
    """The body is of another type than this address takes."""

    status = 415
    error = "unsupported_type"


class KeyReused(Refused):
    """The Idempotency-Key belongs to another request."""

    status = 422
    error = "idempotency_key_reused"


class InUse(Refused):
    """Another request works on it and does not end."""

    status = 423
    error = "locked"


class ChecksumMismatch(Refused):
    """A piece of an upload is not what its checksum tells; 460 is tus's own status."""

    status = 460
    error = "checksum_mismatch"


class QuotaExceeded(Refused):
    """The account has no room left for these bytes."""

    status = 413
    error = "quota_exceeded"


class TooLarge(Refused):
    """The body is larger than this kind of request may be."""

    status = 413
    error = "too_large"


class TooMany(Refused):
    """A limit by time is reached."""

    status = 429
    error = "too_many_requests"

    def __init__(self, why: str, seconds: int | None = None) -> None:
        """Say after how many seconds it may be tried again, where that is known."""
        super().__init__(why)
        if seconds is not None:
            self.headers = {"Retry-After": str(seconds)}


class Interrupted(Refused):
    """The service lost an upload under way; sent again, it may well succeed."""

    status = 503
    error = "temporarily_unavailable"
    headers = MappingProxyType({"Retry-After": "1"})


class DiskFull(Refused):
    """The service's own disk is full."""

    status = 507
    error = "insufficient_storage"


class GrantRefused(Refused):
    """A token request that RFC 6749 section 5.2 refuses; `error` is one of its words."""

    def __init__(self, error: str, why: str) -> None:
        super().__init__(why, error)
        self.status = 401 if error == "invalid_client" else 400


class StoreAway(OSError):
    """The store of the bytes does not answer, or failed: the same may well succeed later."""


class CannotServe(Exception):
    """The process cannot serve the folder, or cannot end; `str` says why."""
