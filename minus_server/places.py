"""Where a service keeps what: its folder, its rows, its bytes."""

from dataclasses import dataclass
from pathlib import Path

from minus_server.blobs import Blobs, FolderBlobs
from minus_server.catalog import Catalog
from minus_server.databases import shown_url, tells_password
from minus_server.errors import CannotServe, NotFound


def refuse_password(url: str) -> None:
    """Raises CannotServe for an argument that tells a password."""
    if tells_password(url):
        raise CannotServe(
            "a password among the arguments is seen by every user of the machine: put it into"
            " PGPASSWORD, ~/.pgpass or MINUS_DATABASE_URL"
        )


@dataclass(frozen=True)
class Places:
    """The folder of a service, and what it keeps elsewhere.

    data       its lock and what tells clients of it; rows and bytes too, unless said otherwise
    database   SQLAlchemy's URL of a database, None for `catalog.sqlite3` in the folder
    blobs      another folder, or `s3://BUCKET/PREFIX?endpoint=URL`, None for the folder's own
    """

    data: Path
    database: str | None = None
    blobs: str | None = None

    @classmethod
    def named(cls, place: str, blobs: str | None) -> "Places":
        """A data folder, or the URL of a database with the place of its bytes.

        Raises CannotServe for a URL without that.
        """
        if "://" not in place:
            return cls(Path(place).absolute(), None, blobs)
        refuse_password(place)
        if blobs is None:
            raise CannotServe("a database alone is half a service: say where its bytes are")
        return cls(Path.cwd(), place, blobs)

    @property
    def has_folder(self) -> bool:
        """Tell whether the rows are those of the folder, of which one process has the lock."""
        return self.database is None

    @property
    def is_shared(self) -> bool:
        """Tell whether other processes may use the rows at the same time."""
        return self.database is not None and not self.database.startswith("sqlite")

    def need(self) -> None:
        """Raises NotFound where nothing is kept yet: a misspelt folder must not look healthy."""
        if self.database is None and not (self.data / "catalog.sqlite3").exists():
            raise NotFound(f"{self.data} is no data folder of a service.")

    def catalog(self) -> Catalog:
        """Open the rows; those of a file are made or upgraded where needed. Raises CannotServe"""
        if self.database is None:
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Catalog.in_folder(self.data)
        if self.is_shared:
            return Catalog.shared(self.database)
        catalog = Catalog(self.database)
        catalog.migrate()
        return catalog

    def unopened_catalog(self) -> Catalog:
        """The rows as they are, for what makes the tables or fills them."""
        if self.database is None:
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Catalog(self.database or Catalog.url_in(self.data))

    def migrate(self) -> bool:
        """Make the tables, or upgrade them. -> False where they were right. Raises CannotServe"""
        catalog = self.unopened_catalog()
        try:
            return catalog.migrate()
        finally:
            catalog.close()

    @property
    def shown_blobs(self) -> str:
        """Where the bytes are, for people."""
        return self.blobs or str(self.data)

    @property
    def shown_rows(self) -> str:
        """Where the rows are, for people."""
        return shown_url(self.database) if self.database else str(self.data)

    @property
    def shown(self) -> str:
        """Where everything is, for people."""
        rows = f", rows in {self.shown_rows}" if self.database else ""
        blobs = f", bytes in {self.blobs}" if self.blobs else ""
        return f"data in {self.data}{rows}{blobs}"

    def open_blobs(self) -> Blobs:
        """Open the store of all bytes but those that stand with their rows. Raises CannotServe"""
        if self.blobs is None:
            return FolderBlobs(self.data)
        if "://" not in self.blobs and not self.blobs.startswith("s3:"):
            return FolderBlobs(Path(self.blobs))
        if self.blobs.startswith("s3://"):
            from minus_server.s3 import S3Blobs

            return S3Blobs(self.blobs)
        raise CannotServe(f"{self.blobs.partition(':')[0]} is no store that minus knows: use s3://")
