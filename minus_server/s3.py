"""The bytes in an S3 object store: SeaweedFS, MinIO, Ceph, AWS.

    blobs/KEY          a blob, there when it is whole
    derived/KEY/KIND   what was derived from it
    incoming/KEY/SIZE  an upload as it was at so many bytes: its parts, and the bytes behind them

The bytes of a part are spooled to a file without a name. With each part goes its MD5, which
the store compares: no store that we know leaves that out, as some do with other digests.
"""

import base64
import errno
import hashlib
import io
import json
import logging
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qsl, urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from minus_server.blobs import HEAD, BlobMissing
from minus_server.errors import CannotServe, StoreAway
from minus_server.names import new_secret

LINK_SECONDS = 60  # that a link leads to a blob
PART = 8 << 20  # bytes of the first parts
_DOUBLED_EVERY = 1000  # parts: 10,000, the most, are then enough for every object that S3 takes
_CONNECTIONS = 64  # one for each thread that may want one
_CONNECT_SECONDS = 3
_ANSWER_SECONDS = 10  # also between two blocks of a body
_TRIES = 2
_BLOCK = 128 << 10  # bytes read from the store at once
_COPY = 1 << 20
_LENGTH = 16  # hexadecimal digits at the end of a state: how long its JSON is
_MISSING = ("404", "NoSuchKey", "NoSuchUpload", "InvalidPart")
_FULL = ("XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded")
_LOG = logging.getLogger(__name__)


# --- which store ---


@dataclass(frozen=True)
class Place:
    """What `s3://BUCKET/PREFIX?...` says.

    prefix      of every object's key; ends in a slash where there is one
    public      the address that links lead to, where others know the store by another one
    addressing  where the bucket stands: in the path, or before the host
    """

    bucket: str
    prefix: str
    endpoint: str | None = None
    public: str | None = None
    region: str | None = None
    addressing: str | None = None

    @classmethod
    def parse(cls, url: str) -> "Place":
        """Raises CannotServe, which repeats nothing that may be a secret."""
        parts = urlsplit(url)
        said = dict(parse_qsl(parts.query, keep_blank_values=True))
        endpoints = [said[name] for name in ("endpoint", "public") if name in said]
        if any("@" in urlsplit(each).netloc for each in (url, *endpoints)):
            raise CannotServe(
                "--blobs must hold no credentials, which every user of the machine could see:"
                " set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if not parts.netloc or parts.fragment:
            raise CannotServe("--blobs names no bucket: s3://BUCKET/PREFIX?endpoint=URL")
        if unknown := said.keys() - {"endpoint", "public", "region", "addressing"}:
            raise CannotServe(f"--blobs: s3:// knows no {', '.join(sorted(unknown))}=")
        if any(urlsplit(each).scheme not in ("http", "https") for each in endpoints):
            raise CannotServe("--blobs: endpoint= and public= are addresses with http: or https:")
        if said.get("addressing", "path") not in ("path", "virtual"):
            raise CannotServe("--blobs: addressing= is path or virtual")
        prefix = parts.path.strip("/")
        return cls(parts.netloc, f"{prefix}/" if prefix else "", **said)

    def client(self, endpoint: str | None) -> Any:
        """A client, for any number of threads. Raises CannotServe"""
        style = self.addressing or ("path" if endpoint else "auto")
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": style, "payload_signing_enabled": False},
            # trailers with checksums are refused by some stores; MD5 goes along in any case
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_ANSWER_SECONDS,
            max_pool_connections=_CONNECTIONS,
        )
        session = botocore.session.get_session()
        region = self.region or session.get_config_variable("region") or "us-east-1"
        try:
            return session.create_client(
                "s3", region_name=region, endpoint_url=endpoint, config=config
            )
        except (BotoCoreError, ValueError) as error:
            raise CannotServe(f"the object store cannot be used: {error}") from None


def _reason(error: BotoCoreError | ClientError) -> str:
    """What went wrong, without the address, which may be long, and what was sent."""
    if isinstance(error, ClientError):
        told = error.response["Error"]
        return f"{told.get('Code', '')} {told.get('Message', '')}".strip()
    return type(error).__name__


@contextmanager
def _asking(key: str) -> Iterator[None]:
    """Raises BlobMissing, StoreAway or OSError (a full store) for what the client raises."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError):
            code, status = error.response["Error"].get("Code"), _status(error)
            if code in _MISSING:
                raise BlobMissing(key) from None
            if code in _FULL or status == 507:
                raise OSError(errno.ENOSPC, "the object store is full") from None
        raise StoreAway(f"the object store failed: {_reason(error)}") from None


def _status(error: ClientError) -> int:
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


# --- the store ---


class S3Blobs:
    """Blobs as objects below a prefix of a bucket. Raises CannotServe for one not to be used."""

    def __init__(self, url: str) -> None:
        self._place = place = Place.parse(url)
        self._client = place.client(place.endpoint)
        self._signer = place.client(place.public) if place.public else self._client
        self._probe()
        link = urlsplit(self.link("x", "", ""))
        self.links_to: str | None = f"{link.scheme}://{link.netloc}"

    def _look(self) -> None:
        """Ask for the least that says whether the store answers."""
        place = self._place
        self._client.list_objects_v2(Bucket=place.bucket, Prefix=place.prefix, MaxKeys=1)

    def ping(self) -> None:
        with _asking(self._place.bucket):
            self._look()

    def _probe(self) -> None:
        place = self._place
        try:
            self._look()
        except (NoCredentialsError, PartialCredentialsError):
            raise CannotServe(
                "there are no credentials for the object store: set AWS_ACCESS_KEY_ID and"
                " AWS_SECRET_ACCESS_KEY"
            ) from None
        except ClientError as error:
            if error.response["Error"].get("Code") in ("NoSuchBucket", "404"):
                raise CannotServe(
                    f"there is no bucket {place.bucket} in the object store"
                ) from None
            refused = "the object store refuses these credentials" if _status(error) == 403 else ""
            raise CannotServe(f"{refused or 'the object store failed'}: {_reason(error)}") from None
        except BotoCoreError as error:
            where = place.endpoint or "AWS"
            raise CannotServe(
                f"the object store at {where} does not answer: {_reason(error)}"
            ) from None

    def ask(self, verb: str, key: str, **fields: Any) -> Any:
        """Send one request about an object; `key` is below the prefix. -> the answer

        Raises BlobMissing, StoreAway, OSError.
        """
        with _asking(key):
            send = getattr(self._client, verb)
            return send(Bucket=self._place.bucket, Key=self._place.prefix + key, **fields)

    def put(self, key: str, body: "BinaryIO | bytes", **fields: Any) -> Any:
        """Send bytes from where they begin, and have the store prove them. -> the answer"""
        stream = io.BytesIO(body) if isinstance(body, bytes) else body
        digest = base64.b64encode(_md5(stream)).decode()
        verb = "upload_part" if fields else "put_object"
        return self.ask(verb, key, Body=stream, ContentMD5=digest, **fields)

    def _listed(self, verb: str, found: str, prefix: str) -> Iterator[dict[str, Any]]:
        """All entries below a prefix, page by page."""
        pages = self._client.get_paginator(verb).paginate(
            Bucket=self._place.bucket, Prefix=self._place.prefix + prefix
        )
        with _asking(prefix):
            for page in pages:
                yield from page.get(found, ())

    def _names(self, prefix: str) -> Iterator[str]:
        """The keys of all objects below a prefix, without our own."""
        return (name for name, _ in self._dated(prefix))

    def _dated(self, prefix: str) -> Iterator[tuple[str, float]]:
        """The keys of all objects below a prefix, and when each came."""
        for row in self._listed("list_objects_v2", "Contents", prefix):
            yield row["Key"][len(self._place.prefix) :], row["LastModified"].timestamp()

    def _open_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Key and upload's id of what is under way below a prefix."""
        for row in self._listed("list_multipart_uploads", "Uploads", prefix):
            yield row["Key"][len(self._place.prefix) :], row["UploadId"]

    def _delete_below(self, prefix: str) -> None:
        for key in list(self._names(prefix)):
            self.ask("delete_object", key)

    # --- blobs on their way in ---

    def create(self, key: str | None = None) -> "S3Writer":
        return S3Writer(self, key or new_secret())

    def resume(self, key: str, size: int) -> "S3Writer":
        writer = S3Writer(self, key)
        try:
            if size:
                self._resume(writer, size)
        except BaseException:
            writer.close()
            raise
        return writer

    def _resume(self, writer: "S3Writer", size: int) -> None:
        try:
            writer.load(size)
        except BlobMissing:  # it may be whole, and nothing was told of it
            if self.size(writer.key) != size:
                raise
            writer.be_whole(size)

    def forget(self, key: str) -> None:
        for found, upload in list(self._open_uploads(f"blobs/{key}")):
            self.abort(found, upload)
        self.drop_states(key)

    def abort(self, key: str, upload: str) -> None:
        try:
            self.ask("abort_multipart_upload", key, UploadId=upload)
        except BlobMissing:
            _LOG.debug("an upload was given up already")

    def drop_states(self, key: str) -> None:
        """Forget how far an upload was."""
        self._delete_below(f"incoming/{key}/")

    def incoming(self, before: float | None = None) -> list[str]:
        came: dict[str, float] = {}
        for name, moment in self._dated("incoming/"):
            key = name.split("/")[1]
            came[key] = max(moment, came.get(key, 0))
        for row in self._listed("list_multipart_uploads", "Uploads", "blobs/"):
            name = row["Key"][len(self._place.prefix) :]
            key, moment = name.split("/")[1], row["Initiated"].timestamp()
            if before is not None and moment < before:
                moment = max(moment, self._last_part(name, row["UploadId"]))
            came[key] = max(moment, came.get(key, 0))
        return sorted(key for key in came if before is None or came[key] < before)

    def _last_part(self, key: str, upload: str) -> float:
        """When the last part of an upload came; 0 where none did, or it has ended."""
        pages = self._client.get_paginator("list_parts").paginate(
            Bucket=self._place.bucket, Key=self._place.prefix + key, UploadId=upload
        )
        last = 0.0
        with suppress(BlobMissing), _asking(key):
            for page in pages:
                moments = (part["LastModified"].timestamp() for part in page.get("Parts", ()))
                last = max([last, *moments])
        return last

    def clear_incoming(self, but: Collection[str] = ()) -> None:
        for key in self.incoming():
            if key not in but:
                self.forget(key)

    # --- blobs that are whole ---

    def open(self, key: str, start: int = 0) -> BinaryIO:
        return self.stream(f"blobs/{key}", start)

    def stream(self, key: str, start: int = 0) -> BinaryIO:
        """Any object, from a place on; `key` is below the prefix."""
        # BufferedReader is no BinaryIO to the type checker, though it has all of it
        return cast("BinaryIO", io.BufferedReader(S3Stream(self, key, start), _BLOCK))

    def several(self, _keys: Sequence[str]) -> dict[str, bytes]:
        return {}

    def path(self, _key: str) -> Path | None:
        return None

    def link(self, key: str, kind: str, disposition: str) -> str:
        return str(
            self._signer.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self._place.bucket,
                    "Key": f"{self._place.prefix}blobs/{key}",
                    "ResponseContentType": kind,
                    "ResponseContentDisposition": disposition,
                    "ResponseCacheControl": "private, no-cache",
                },
                ExpiresIn=LINK_SECONDS,
            )
        )

    def size(self, key: str) -> int:
        return int(self.ask("head_object", f"blobs/{key}")["ContentLength"])

    def delete(self, key: str) -> None:
        self.ask("delete_object", f"blobs/{key}")
        self.delete_derived(key)

    def derived(self, key: str, kind: str) -> bytes | None:
        try:
            with _asking(key):
                body = self.ask("get_object", f"derived/{key}/{kind}")["Body"]
                return cast("bytes", body.read())
        except BlobMissing:
            return None

    def keep_derived(self, key: str, kind: str, data: bytes) -> None:
        self.put(f"derived/{key}/{kind}", data)

    def delete_derived(self, key: str) -> None:
        self._delete_below(f"derived/{key}/")

    def owner(self) -> str | None:
        try:
            with _asking("owner"):
                return cast("bytes", self.ask("get_object", "owner")["Body"].read()).decode()
        except BlobMissing:
            return None

    def set_owner(self, name: str) -> None:
        self.put("owner", name.encode())

    def keys(self, before: float | None = None) -> Iterator[str]:
        for name, moment in self._dated("blobs/"):
            if before is None or moment < before:
                yield name.removeprefix("blobs/")

    def derived_keys(self, before: float | None = None) -> Iterator[str]:
        def key_of(found: tuple[str, float]) -> str:
            return found[0].split("/")[1]

        for key, found in groupby(self._dated("derived/"), key_of):  # they come in order
            if before is None or max(moment for _, moment in found) < before:
                yield key

    def open_begun(self, key: str) -> BinaryIO:
        raise BlobMissing(key)  # parts cannot be read


def _md5(stream: BinaryIO) -> bytes:
    """The digest of a stream from where it stands, where it then stands again."""
    start, digest = stream.tell(), hashlib.md5(usedforsecurity=False)
    while block := stream.read(_COPY):
        digest.update(block)
    stream.seek(start)
    return digest.digest()


class S3Stream(io.RawIOBase):
    """An object from a place on; another place is another request, made when it is read."""

    def __init__(self, store: S3Blobs, key: str, start: int) -> None:
        super().__init__()
        self._store = store
        self._key = key
        self._at = start
        self._size = 0
        self._body: Any = None
        self._begin()

    def _begin(self) -> None:
        """Ask for all that follows."""
        wanted = {"Range": f"bytes={self._at}-"} if self._at else {}
        answer = self._store.ask("get_object", self._key, **wanted)
        self._body = answer["Body"]
        self._size = self._at + int(answer["ContentLength"])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        to = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if to != self._at:
            self._let_go()
        self._at = max(0, to)
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._size:
            return 0
        if self._body is None:
            self._begin()
        with _asking(self._key):
            size = int(self._body.readinto(buffer))
        if not size:
            raise StoreAway("the object store sent less than it has")
        self._at += size
        return size

    def _let_go(self) -> None:
        if self._body is not None:
            self._body.close()
        self._body = None

    def close(self) -> None:
        self._let_go()
        super().close()


class S3Writer:
    """One blob on its way into a bucket. Small ones are one object at once, others parts of one."""

    def __init__(self, store: S3Blobs, key: str) -> None:
        self.key = key
        self.size = 0
        self._store = store
        self._name = f"blobs/{key}"
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115  the bytes behind the last part
        self._held = 0  # how many
        self._head = b""
        self._upload: str | None = None  # the store's word for it, once there is a part
        self._parts: list[tuple[str, int]] = []  # ETag and size of each
        self._states: list[int] = []  # the sizes at which it can go on
        self.mark = ""
        self._is_broken = False  # what is spooled may not be what `size` tells of
        self._is_gone = False  # somebody gave it up
        self._is_whole = False

    # --- going on ---

    def be_whole(self, size: int) -> None:
        """Be as after `commit`."""
        self._is_whole, self.size = True, size

    def load(self, size: int) -> None:
        """Be as it was at this size. Raises BlobMissing, StoreAway"""
        with self._store.stream(f"incoming/{self.key}/{size}") as stream:
            while block := stream.read(_COPY):
                self._spool.write(block)
        spool = self._spool
        end = spool.seek(-_LENGTH, io.SEEK_END)
        self._held = spool.seek(end - int(spool.read(_LENGTH), 16))
        state = json.loads(spool.read(end - self._held))
        self._truncate()
        self._upload, self._head = state["upload"], bytes.fromhex(state["head"])
        self._parts = [(etag, length) for etag, length in state["parts"]]
        self.size = self._held + sum(length for _, length in self._parts)
        if self.size != size or self._digest() != state["sha256"]:
            raise StoreAway("the object store gave other bytes back than it was given")
        self._states, self.mark = [size], state["mark"]

    def _digest(self) -> str:
        """The SHA-256 of what is spooled."""
        digest = hashlib.sha256()
        self._spool.seek(0)
        while block := self._spool.read(_COPY):
            digest.update(block)
        return digest.hexdigest()

    def _truncate(self) -> None:
        self._spool.truncate(self._held)
        self._spool.seek(self._held)

    # --- the bytes ---

    def write(self, data: bytes) -> None:
        self._is_broken = True
        if len(self._head) < HEAD:
            self._head += data[: HEAD - len(self._head)]
        view = memoryview(data)
        while view:
            room = (PART << len(self._parts) // _DOUBLED_EVERY) - self._held
            self._spool.write(view[:room])
            self._held += len(view[:room])
            if len(view) >= room:
                self._send_part()
            view = view[room:]
        self.size += len(data)
        self._is_broken = False

    def _send_part(self) -> None:
        """Have the store take what is spooled; where the upload is gone, nobody wants it."""
        try:
            if self._upload is None:
                self._upload = self._store.ask("create_multipart_upload", self._name)["UploadId"]
            number = len(self._parts) + 1
            self._spool.seek(0)
            sent = self._store.put(
                self._name, self._spool, UploadId=self._upload, PartNumber=number
            )
            self._parts.append((sent["ETag"], self._held))
        except BlobMissing:
            self._is_gone = True
            self._parts.append(("", self._held))
        self._held = 0
        self._truncate()

    def head(self) -> bytes:
        if self._is_whole and not self._head and self.size:
            with self._store.open(self.key) as stream:
                self._head = stream.read(HEAD)
        return self._head

    def sha256(self) -> Any:
        self.commit()
        digest = hashlib.sha256()
        with self._store.open(self.key) as stream:
            while block := stream.read(_COPY):
                digest.update(block)
        return digest

    def flush(self) -> None:
        if self._is_broken:
            raise StoreAway("the object store failed before")
        if self._is_gone or self.size in self._states:
            return
        mark = new_secret()
        state = {
            "mark": mark,
            "upload": self._upload,
            "parts": self._parts,
            "head": self._head.hex(),
            "sha256": self._digest(),
        }
        told = json.dumps(state).encode()
        self._spool.seek(self._held)
        self._spool.write(told + b"%0*x" % (_LENGTH, len(told)))
        self._spool.seek(0)
        try:
            self._store.put(f"incoming/{self.key}/{self.size}", self._spool)
        finally:
            self._truncate()
        self._states.append(self.size)
        self.mark = mark
        while len(self._states) > 2:  # the one before is what the catalog tells of until it is told
            self._store.ask("delete_object", f"incoming/{self.key}/{self._states.pop(0)}")

    def commit(self) -> None:
        if self._is_whole:
            return
        if self._is_broken:
            raise StoreAway("the object store failed before")
        try:
            self._complete()
        except BlobMissing:
            # the answer to an earlier try was lost, or somebody gave the upload up
            if self._store.size(self.key) != self.size:
                raise BlobMissing(self.key) from None
        self._is_whole = True
        self._spool.close()
        if self._states:
            self._store.drop_states(self.key)

    def _complete(self) -> None:
        if self._upload is None:
            self._spool.seek(0)
            self._store.put(self._name, self._spool)
            return
        if self._held:
            self._send_part()
        if self._is_gone:
            raise BlobMissing(self.key)
        parts = [
            {"PartNumber": number, "ETag": etag} for number, (etag, _) in enumerate(self._parts, 1)
        ]
        self._store.ask(
            "complete_multipart_upload",
            self._name,
            UploadId=self._upload,
            MultipartUpload={"Parts": parts},
        )

    def close(self) -> None:
        self._spool.close()

    def abort(self) -> None:
        self._spool.close()
        if self._is_whole:
            return
        try:
            if self._upload is not None:
                self._store.abort(self._name, self._upload)
            if self._states:
                self._store.drop_states(self.key)
        except OSError as error:  # the upload's own failure is what its sender has to be told
            _LOG.warning("bytes of an upload wait for `minus-server sweep`: %s", error)
