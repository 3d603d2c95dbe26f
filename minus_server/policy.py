"""What the operator settles when the service starts."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network


@dataclass(frozen=True)
class Policy:
    """Who may do what without an account, and how much of it.

    embedded         the service of one person on their own machine
    image_base       what the addresses in a v1 gallery begin with; None: the service's own
    trusted_proxies  whose `X-Forwarded-For` is believed
    old_clients      what only programs of 2012 need: tokens by GET and in addresses, adding to a
                     gallery by its reader id
    presigned        bytes are fetched from the object store itself, where that does no harm
    """

    registration: bool = False
    registration_quota: int = 10 << 30  # bytes of whoever registers
    registrations_an_hour: int = 100  # by address, as for galleries
    anonymous: bool = True
    embedded: bool = False
    old_clients: bool = True
    galleries_an_hour: int = 100  # by address; IPv6 by /64
    anonymous_file: int = 1 << 30  # bytes
    anonymous_total: int = 20 << 30  # bytes of all galleries without an owner
    anonymous_days: int = 30  # without a visit, then such a gallery ends
    image_base: str | None = None
    presigned: bool = False
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
