"""What every store of blobs must do, and how the folder keeps its promise of durability."""

import errno
import os
from pathlib import Path

import pytest

from minus_server.blobs import BlobMissing, Blobs, FolderBlobs

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

    def assert_missing(self, blobs: Blobs, key: str) -> None:
        assert list(blobs.keys()) == []
        assert blobs.derived(key, "small") is None
        for ask in (blobs.open, blobs.size):
            with pytest.raises(BlobMissing, match=key):
                ask(key)


class TestFolderBlobs(StoreContract):
    """The folder passes, and more."""

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> FolderBlobs:
        return FolderBlobs(tmp_path)

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
        assert {path.name for path in blobs.incoming()} == {writer.key for writer in writers}
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
