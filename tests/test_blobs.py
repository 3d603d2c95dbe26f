"""What every store of blobs must do; how the folder is durable, what the catalog holds."""

import errno
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, select, update

from minus_server.blobs import MAX_SMALL, BlobMissing, Blobs, FolderBlobs
from minus_server.catalog import Catalog, IntegrityError, Rows
from minus_server.errors import DigestMismatch, TooLarge
from minus_server.library import Incoming
from minus_server.names import KEY_LETTERS, new_id
from minus_server.s3 import S3Blobs
from minus_server.schema import UNPLACED, files, small
from minus_server.store import MARK, Store, small_key
from tests.seaweed import new_place
from tests.test_catalog import add_folder, add_user

DATA = b"one\r\n\x00\xff" * 1000


class StoreContract:
    """Tests that any store must pass; a subclass says how to open one."""

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        raise NotImplementedError

    def put(self, blobs: Blobs, data: bytes = DATA) -> str:
        writer = blobs.create()
        writer.write(data)
        writer.commit()
        return writer.key

    def test_a_store_that_is_there_is_well(self, blobs: Blobs) -> None:
        blobs.ping()

    def test_it_remembers_its_owner(self, blobs: Blobs) -> None:
        assert blobs.owner() is None
        for name in ("one", "another"):
            blobs.set_owner(name)
            assert blobs.owner() == name
        assert (list(blobs.keys()), blobs.incoming()) == ([], [])

    def test_a_blob_comes_back_byte_for_byte(self, blobs: Blobs) -> None:
        writer = blobs.create()
        for block in (DATA, b"", b"last"):
            writer.write(block)
        assert writer.size == len(DATA) + 4
        writer.commit()
        with blobs.open(writer.key) as stream:
            assert stream.read() == DATA + b"last"
            assert stream.seek(3) == 3
            assert stream.read(2) == b"\r\n"
        assert blobs.size(writer.key) == writer.size
        path = blobs.path(writer.key)
        assert path is None or path.read_bytes() == DATA + b"last"

    def test_a_blob_may_be_empty(self, blobs: Blobs) -> None:
        key = self.put(blobs, b"")
        with blobs.open(key) as stream:
            assert stream.read() == b""
        assert blobs.size(key) == 0

    def test_a_blob_is_absent_until_it_is_whole(self, blobs: Blobs) -> None:
        writer = blobs.create()
        writer.write(DATA)
        self.assert_missing(blobs, writer.key)
        writer.commit()
        assert list(blobs.keys()) == [writer.key]

    def test_what_is_given_up_leaves_nothing(self, blobs: Blobs) -> None:
        writer = blobs.create()
        writer.write(DATA)
        writer.abort()
        writer.abort()
        self.assert_missing(blobs, writer.key)

    def test_giving_up_what_is_whole_changes_nothing(self, blobs: Blobs) -> None:
        writer = blobs.create()
        writer.write(DATA)
        writer.commit()
        writer.abort()
        assert blobs.size(writer.key) == len(DATA)

    def test_a_deleted_blob_is_missing_and_deleting_it_again_is_harmless(
        self, blobs: Blobs
    ) -> None:
        key, other = self.put(blobs), self.put(blobs)
        blobs.keep_derived(key, "small", b"tiny")
        blobs.delete(key)
        blobs.delete(key)
        assert list(blobs.keys()) == [other]
        assert blobs.derived(key, "small") is None
        blobs.delete(other)
        self.assert_missing(blobs, key)

    def test_a_key_that_was_never_given_out_is_missing(self, blobs: Blobs) -> None:
        self.assert_missing(blobs, "x" * 43)
        blobs.delete("x" * 43)

    def test_no_two_blobs_have_one_key(self, blobs: Blobs) -> None:
        keys = {self.put(blobs) for _ in range(50)}
        assert len(keys) == 50
        assert set(blobs.keys()) == keys

    def test_derived_bytes_are_kept_by_kind_and_replaced(self, blobs: Blobs) -> None:
        key = self.put(blobs)
        assert blobs.derived(key, "small") is None
        for kind, data in (("small", b"first"), ("small", b"tiny"), ("medium", b"larger")):
            blobs.keep_derived(key, kind, data)
        assert [blobs.derived(key, kind) for kind in ("small", "medium")] == [b"tiny", b"larger"]
        assert list(blobs.keys()) == [key]

    def test_what_came_before_a_moment_is_told_apart(self, blobs: Blobs) -> None:
        key, cut = self.put(blobs), blobs.create()
        cut.write(DATA)
        cut.flush()
        blobs.keep_derived(key, "small", b"tiny")
        later = time.time() + 60
        for listed, found in (
            (blobs.keys, key),
            (blobs.incoming, cut.key),
            (blobs.derived_keys, key),
        ):
            assert [list(listed(when)) for when in (0, later, None)] == [[], [found], [found]]
        cut.abort()

    def assert_missing(self, blobs: Blobs, key: str) -> None:
        assert list(blobs.keys()) == []
        assert blobs.derived(key, "small") is None
        for ask in (blobs.open, blobs.size):
            with pytest.raises(BlobMissing, match=key):
                ask(key)


class TestS3Blobs(StoreContract):
    """So does a bucket."""

    @pytest.fixture
    def blobs(self) -> S3Blobs:
        return S3Blobs(new_place())


class TestFolderBlobs(StoreContract):
    """The folder passes, and more."""

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> FolderBlobs:
        return FolderBlobs(tmp_path)

    def test_a_folder_that_is_gone_is_no_store_that_is_well(
        self, blobs: FolderBlobs, tmp_path: Path
    ) -> None:
        (tmp_path / "incoming").rmdir()
        with pytest.raises(OSError, match="incoming is not there"):
            blobs.ping()

    def test_bytes_and_folder_are_on_disk_in_order_before_commit_returns(
        self, blobs: FolderBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done: list[tuple[str, str]] = []
        fsync, rename = os.fsync, Path.rename

        def noted_fsync(handle: int) -> None:
            fsync(handle)
            seen = os.fstat(handle)
            path = next(p for p in tmp_path.rglob("*") if os.path.samestat(p.stat(), seen))
            done.append(("fsync", str(path.relative_to(tmp_path))))

        def noted_rename(path: Path, target: Path) -> Path:
            done.append(("rename", str(target.relative_to(tmp_path))))
            return rename(path, target)

        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(Path, "rename", noted_rename)
        key = self.put(blobs)
        shard = f"blobs/{key[:1]}"
        assert done == [
            ("fsync", f"incoming/{key}"),
            ("rename", f"{shard}/{key}"),
            ("fsync", shard),
        ]

    def test_a_blob_is_there_for_the_next_process(self, blobs: FolderBlobs, tmp_path: Path) -> None:
        key = self.put(blobs)
        assert list(FolderBlobs(tmp_path).keys()) == [key]

    def test_what_a_full_disk_cut_off_is_given_up_without_a_trace(
        self, blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        writer = blobs.create()
        writer.write(DATA)
        with pytest.raises(OSError, match="No space left"):
            writer.commit()
        writer.abort()
        assert blobs.incoming() == []
        self.assert_missing(blobs, writer.key)

    def test_uploads_under_way_are_listed_and_cleared(self, blobs: FolderBlobs) -> None:
        writers = [blobs.create() for _ in range(3)]
        assert set(blobs.incoming()) == {writer.key for writer in writers}
        for writer in writers:
            writer.abort()
        cut_off = blobs.create()
        blobs.clear_incoming()
        assert blobs.incoming() == []
        cut_off.abort()

    def test_nobody_else_may_read_the_folders(self, blobs: FolderBlobs, tmp_path: Path) -> None:
        assert blobs.incoming() == []
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        assert modes == {"blobs": 0o700, "incoming": 0o700, "derived": 0o700}


def refusal() -> TooLarge:
    return TooLarge("too many bytes")


class TestStore(StoreContract):
    """The service's store passes for large blobs, and finds small ones in the catalog."""

    @pytest.fixture
    def catalog(self, tmp_path: Path) -> Iterator[Catalog]:
        opened = Catalog.in_folder(tmp_path)
        yield opened
        opened.close()

    @pytest.fixture
    def blobs(self, tmp_path: Path, catalog: Catalog) -> Store:
        return Store(FolderBlobs(tmp_path), catalog)

    @pytest.fixture
    def folder_n(self, catalog: Catalog) -> int:
        with catalog.write() as rows:
            return add_folder(rows, add_user(rows, "alice"))

    def add(self, catalog: Catalog, folder_n: int, *contents: bytes) -> list[str]:
        """Add small files. -> the keys of their bytes"""
        ids = [new_id() for _ in contents]
        empty = dict.fromkeys(("name", "title", "caption", "mimetype", "sha256"), "")
        keys = [small_key(file_id) for file_id in ids]
        named = [{"id": i, "blob": key} for i, key in zip(ids, keys, strict=True)]
        placed = {"folder_n": folder_n, "position": UNPLACED}
        with catalog.write() as rows:
            ns = rows.add_files([{**empty, **row, **placed} for row in named], contents)
        assert ns == sorted(ns)
        assert keys == sorted(keys)  # so that they stand together in the index
        return keys

    def test_small_blobs_come_back_byte_for_byte(
        self, blobs: Store, catalog: Catalog, folder_n: int
    ) -> None:
        contents = [DATA, b"", b"\0", bytes(MAX_SMALL)]
        keys = self.add(catalog, folder_n, *contents)
        for key, data in zip(keys, contents, strict=True):
            with blobs.open(key) as stream:
                assert stream.read() == data
                assert stream.seek(3) == 3
                assert stream.read(2) == data[3:5]
            assert (blobs.size(key), blobs.path(key)) == (len(data), None)

    def test_several_small_blobs_are_read_in_a_few_statements(
        self,
        blobs: Store,
        catalog: Catalog,
        folder_n: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        contents = [b"%d" % number for number in range(1200)]
        small, large = self.add(catalog, folder_n, *contents), self.put(blobs)
        asked: list[object] = []
        ask = Rows._all

        def noted(rows: Rows, query: Select[Any], **values: object) -> Sequence[Sequence[Any]]:
            asked.append(query)
            return ask(rows, query, **values)

        monkeypatch.setattr(Rows, "_all", noted)
        found = blobs.several([large, *small, small_key("x" * 12)])
        assert (found, len(asked)) == (dict(zip(small, contents, strict=True)), 3)
        assert blobs.several([]) == blobs.several([large]) == {}

    def test_small_and_large_keys_are_never_alike(
        self, blobs: Store, catalog: Catalog, folder_n: int
    ) -> None:
        keys, large = self.add(catalog, folder_n, b"a", b"b"), self.put(blobs)
        assert list(blobs.keys()) == [large]
        assert {key[0] for key in keys} == {MARK}
        assert MARK not in KEY_LETTERS

    def test_bytes_that_lie_elsewhere_are_told_however_many_small_ones_are_there(
        self, blobs: Store, catalog: Catalog, folder_n: int, tmp_path: Path
    ) -> None:
        was = self.add(catalog, folder_n, *(b"%d" % number for number in range(20)))[:3]
        other = Store(FolderBlobs(tmp_path / "other"), catalog)
        assert other.stranger() is None
        with catalog.write() as rows:
            for key in was:
                change = update(files).where(files.c.blob == key)
                rows.connection.execute(change.values(blob=self.put(blobs)))
        why = "it has the bytes of none of the files that the catalog knows"
        assert (other.stranger(), blobs.stranger()) == (why, None)

    def test_a_place_knows_whose_it_is(
        self, blobs: Store, catalog: Catalog, tmp_path: Path
    ) -> None:
        self.put(blobs)
        assert blobs.stranger() == "it has bytes, and none of a file that the catalog knows"
        blobs.claim()
        assert blobs.stranger() is None
        (tmp_path / "another").mkdir()
        another = Catalog.in_folder(tmp_path / "another")
        theirs = Store(blobs.large, another)
        theirs.claim()
        assert (theirs.stranger(), blobs.stranger()) == ("it is another service's", None)
        another.close()

    def test_small_bytes_go_with_their_row_and_what_was_derived_with_delete(
        self, blobs: Store, catalog: Catalog, folder_n: int
    ) -> None:
        (key,) = self.add(catalog, folder_n, b"a")
        blobs.keep_derived(key, "small", b"tiny")
        assert blobs.derived(key, "small") == b"tiny"
        with catalog.write() as rows:
            rows.delete_folder(folder_n)
        blobs.delete(key)
        blobs.delete(key)
        assert blobs.several([key]) == {}
        self.assert_missing(blobs, key)

    def test_a_row_that_fails_leaves_no_small_bytes(
        self, blobs: Store, catalog: Catalog, folder_n: int
    ) -> None:
        for missing in (folder_n + 1, folder_n + 2):
            with pytest.raises(IntegrityError):
                self.add(catalog, missing, b"a", b"b")
        with catalog.read() as rows:
            assert rows.connection.execute(select(small)).all() == []

    @pytest.mark.parametrize("size", [0, 1, MAX_SMALL, MAX_SMALL + 1, 3 * MAX_SMALL])
    @pytest.mark.parametrize("block", [1000, MAX_SMALL, 1 << 20])
    def test_an_upload_touches_the_folder_only_where_it_is_large(
        self, blobs: Store, size: int, block: int
    ) -> None:
        data = (DATA * 40)[:size]
        incoming = Incoming(blobs, size, refusal())
        for start in range(0, size, block):
            incoming.write([data[start : start + block]])
            held = min(size, start + block) <= MAX_SMALL
            assert len(blobs.incoming()) == (0 if held else 1)
        with pytest.raises(TooLarge):
            incoming.write([b"x"])
        assert (incoming.size, incoming.head) == (size, data[:512])
        assert incoming.sha256 == hashlib.sha256(data).hexdigest()
        kept = incoming.commit()
        incoming.abort()
        assert blobs.incoming() == []
        if size <= MAX_SMALL:
            assert kept == data
            assert list(blobs.keys()) == []
        else:
            assert list(blobs.keys()) == [kept]
            assert isinstance(kept, str)
            with blobs.open(kept) as stream:
                assert stream.read() == data

    def test_an_upload_of_other_bytes_than_told_is_not_kept(self, blobs: Store) -> None:
        for size in (1, MAX_SMALL + 1):
            incoming = Incoming(blobs, size, refusal(), digest="0" * 64)
            incoming.write([bytes(size)])
            with pytest.raises(DigestMismatch):
                incoming.commit()
            incoming.abort()
        assert (list(blobs.keys()), blobs.incoming()) == ([], [])


class TestStoreOverS3(StoreContract):
    """It passes with a bucket behind it, too."""

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Iterator[Store]:
        catalog = Catalog.in_folder(tmp_path)
        yield Store(S3Blobs(new_place()), catalog)
        catalog.close()
