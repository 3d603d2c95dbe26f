"""The service as one object: the rules, the catalog and the bytes of one data folder."""

import time
from dataclasses import dataclass
from pathlib import Path

from minus_server.accounts import Accounts, Clock
from minus_server.catalog import Catalog
from minus_server.errors import CannotServe
from minus_server.galleries import Galleries
from minus_server.leases import Leases
from minus_server.library import Library
from minus_server.meter import Meter
from minus_server.pictures import Pictures
from minus_server.places import Places
from minus_server.policy import Policy
from minus_server.resumable import Resumables
from minus_server.sessions import Sessions
from minus_server.store import Store
from minus_server.throttle import Misses, SignIns

DEFAULT_POLICY = Policy()
UNCOUNTED = Meter()


@dataclass(frozen=True)
class Service:
    """What the routes and the commands call."""

    policy: Policy
    misses: Misses
    accounts: Accounts
    sign_ins: SignIns
    sessions: Sessions
    library: Library
    galleries: Galleries
    resumables: Resumables
    catalog: Catalog
    blobs: Store
    pictures: Pictures
    clock: Clock

    def close(self) -> None:
        """End the picture child and the database connections."""
        self.pictures.close()
        self.catalog.close()


def open_service(
    places: Places | Path,
    clock: Clock = time.time,
    policy: Policy = DEFAULT_POLICY,
    meter: Meter = UNCOUNTED,
    *,
    alone: bool = True,
) -> Service:
    """Open what a service keeps, making what is missing of a folder, its owner's alone (0700).

    alone   no other process serves these rows, as far as the folder's lock can tell.
            Raises CannotServe.
    """
    places = places if isinstance(places, Places) else Places(places)
    catalog, pictures = places.catalog(), Pictures()
    catalog.watch(meter)
    blobs = Store(places.open_blobs(), catalog)
    if policy.presigned and blobs.links_to is None:
        raise CannotServe("--presigned on needs bytes in an object store: --blobs s3://...")
    leases = Leases(catalog, clock, alone=alone and not places.is_shared)
    library = Library(catalog, blobs, pictures, clock, policy, leases)
    sign_ins = SignIns(catalog, clock, meter)
    return Service(
        policy=policy,
        misses=Misses(catalog, clock),
        accounts=Accounts(catalog, clock, sign_ins),
        sign_ins=sign_ins,
        sessions=Sessions(catalog, clock),
        library=library,
        galleries=Galleries(catalog, library, clock, policy),
        resumables=Resumables(catalog, blobs, library, clock),
        catalog=catalog,
        blobs=blobs,
        pictures=pictures,
        clock=clock,
    )
