"""The command `minus-server`: serve, the operator's commands, check."""

import argparse
import getpass
import os
import sys
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from minus_server import __version__

if TYPE_CHECKING:
    from minus_server.options import Options
    from minus_server.places import Places
    from minus_server.service import Service

MOST_WORKERS = 256
_MISSING = "The service's packages are not installed: pip install '.[server]' ({})"


def default_data() -> Path:
    """Where the data is unless `--data` says: $MINUS_DATA, else below $XDG_DATA_HOME."""
    if named := os.environ.get("MINUS_DATA"):
        return Path(named)
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "minus"


def _serve(arguments: argparse.Namespace) -> int:
    from minus_server import daemon

    return daemon.serve(_options(arguments))


def serving(argv: Sequence[str]) -> "Options":
    """What the arguments of `minus-server serve ...` say, to a child of its process."""
    return _options(_parsed(argv))


def _options(arguments: argparse.Namespace) -> "Options":
    from minus_server.errors import CannotServe
    from minus_server.logs import Style
    from minus_server.options import Options
    from minus_server.policy import Policy

    base, cert, key = arguments.image_base, arguments.tls_cert, arguments.tls_key
    if (cert is None) != (key is None):
        raise CannotServe("--tls-cert and --tls-key go together")
    policy = Policy(
        registration=arguments.registration == "open",
        registration_quota=arguments.registration_quota,
        anonymous=arguments.anonymous == "on" and not arguments.embedded,
        embedded=arguments.embedded,
        galleries_an_hour=arguments.anonymous_galleries,
        anonymous_file=arguments.anonymous_file,
        anonymous_total=arguments.anonymous_total,
        anonymous_days=arguments.anonymous_days,
        image_base=base if base is None or base.endswith("/") else f"{base}/",
        trusted_proxies=tuple(arguments.trusted_proxy),
        old_clients=arguments.old_clients == "on",
        presigned=arguments.presigned == "on",
    )
    return Options(
        places=_places(arguments),
        host=arguments.host,
        port=arguments.port,
        base_url=arguments.base_url,
        policy=policy,
        idle_exit=arguments.idle_exit,
        tls=None if cert is None else (cert, key),
        workers=arguments.workers,
        drain=arguments.drain,
        foreign=arguments.foreign,
        metrics=arguments.metrics,
        log=Style(arguments.log_format, arguments.access_log == "on"),
        argv=tuple(arguments.argv),
    )


def _work(_arguments: argparse.Namespace) -> int:
    from minus_server.workers import work

    return work()


def _password() -> str:
    """Ask for a password twice on a terminal; elsewhere read one line."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    from minus_server.errors import BadRequest

    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise BadRequest("The passwords differ.")
    return first


def _adduser(arguments: argparse.Namespace) -> int:
    from minus_server.accounts import DEFAULT_QUOTA
    from minus_server.service import open_service

    accounts = open_service(_places(arguments)).accounts
    quota = DEFAULT_QUOTA if arguments.quota is None else arguments.quota
    accounts.add_user(arguments.name, _password(), quota)
    return 0


def _places(arguments: argparse.Namespace) -> "Places":
    from minus_server.places import Places, refuse_password

    if arguments.database_url and arguments.database_url != os.environ.get("MINUS_DATABASE_URL"):
        refuse_password(arguments.database_url)
    return Places(arguments.data, arguments.database_url or None, arguments.blobs or None)


def _existing(arguments: argparse.Namespace) -> "Service":
    """Open what is there already."""
    from minus_server.service import open_service

    places = _places(arguments)
    places.need()
    return open_service(places)


def _migrate(arguments: argparse.Namespace) -> int:
    from minus_server.catalog import newest_revision

    changed = _places(arguments).migrate()
    print(f"The tables are {'now ' if changed else ''}those of {newest_revision()}.")
    return 0


def _passwd(arguments: argparse.Namespace) -> int:
    _existing(arguments).accounts.set_password(arguments.name, _password())
    return 0


def _users(arguments: argparse.Namespace) -> int:
    from minus_server.wire import date

    accounts = _existing(arguments).accounts
    print(f"{'Username':<32}{'Used':>20}{'Quota':>20}  Created")
    for user in accounts.users():
        print(f"{user.username:<32}{user.used:>20}{user.quota:>20}  {date(user.created)}")
    return 0


def _addclient(arguments: argparse.Namespace) -> int:
    from minus_server.daemon import served_at
    from minus_server.service import open_service

    key, secret = open_service(_places(arguments)).accounts.add_client(arguments.name)
    print(f"[api]\nurl: {served_at(arguments.data)}\napi_key: {key}\napi_secret: {secret}")
    return 0


def _shown(text: str) -> str:
    """A text that somebody else chose, without what would drive the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _clients(arguments: argparse.Namespace) -> int:
    from minus_server.wire import date

    print(f"{'API key':<14}{'Created':<21}{'User':<32}Name")
    for client, user in _existing(arguments).accounts.every_client():
        print(f"{client.id:<14}{date(client.created):<21}{user:<32}{_shown(client.name)}")
    return 0


def _agreed(arguments: argparse.Namespace, question: str) -> bool:
    """Ask before something is removed for ever. Raises BadRequest where nobody can be asked."""
    from minus_server.errors import BadRequest

    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise BadRequest("This removes for ever: add --yes, as nobody can be asked here.")
    if input(f"{question} [y/N] ").strip().lower() in ("y", "yes"):
        return True
    print("Nothing was removed.")
    return False


def _deluser(arguments: argparse.Namespace) -> int:
    service = _existing(arguments)
    user = service.accounts.user(arguments.name)
    if not _agreed(arguments, f"Remove {user.username} with {user.used} bytes of files?"):
        return 1
    service.library.remove_user(user)
    return 0


def _delclient(arguments: argparse.Namespace) -> int:
    accounts = _existing(arguments).accounts
    if not _agreed(arguments, f"Remove the API client {_shown(arguments.key)} with its tokens?"):
        return 1
    accounts.drop_client(arguments.key)
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from minus_server.catalog import File
    from minus_server.names import named_by

    library = _existing(arguments).library
    found = library.linked(*named_by(arguments.link))
    if isinstance(found, File):
        question = f"Remove the file {_shown(found.name)} ({found.size} bytes)?"
    else:
        whose = f" of {found.owner_username}" if found.owner_username else ""
        question = f"Remove the gallery {_shown(found.name)}{whose} ({found.file_count} files)?"
    if not _agreed(arguments, question):
        return 1
    if isinstance(found, File):
        library.remove_files(library.linked_folder(found.folder_id), [found])
    else:
        library.remove_folder(found, forget=True)
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    from minus_server import daemon

    if daemon.stop(arguments.data):
        print(f"The service of {arguments.data} has ended.")
    else:
        print(f"No service runs on {arguments.data}.")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from minus_server import keeping

    return keeping.check(_places(arguments))


def _sweep(arguments: argparse.Namespace) -> int:
    from minus_server import keeping

    return keeping.sweep(_places(arguments), dry=arguments.dry_run, foreign=arguments.foreign)


def _copy(arguments: argparse.Namespace) -> int:
    from minus_server import keeping
    from minus_server.places import Places

    source = Places.named(arguments.source, arguments.from_blobs)
    target = Places.named(arguments.to, arguments.to_blobs)
    return keeping.copy(source, target, live=arguments.live, verify=arguments.verify)


def _export(arguments: argparse.Namespace) -> int:
    from minus_server import keeping

    return keeping.export(_places(arguments), arguments.folder)


def _import(arguments: argparse.Namespace) -> int:
    from minus_server import keeping

    return keeping.import_(arguments.folder, _places(arguments), verify=arguments.verify)


def _size(text: str) -> int:
    """A number of bytes, with k, M, G or T behind it for powers of 1024."""
    number, unit = text[:-1], "kmgt".find(text[-1:].lower())
    if unit < 0:
        number, unit = text, -1
    if not number.isdigit() or len(number) > 15:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes")
    size: int = int(number) * 1024 ** (unit + 1)
    if size >= 1 << 62:
        raise argparse.ArgumentTypeError(f"{text!r} is too large")
    return size


def _port(text: str) -> int:
    if not (text.isdigit() and int(text) < 1 << 16):
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return int(text)


def _workers(text: str) -> int:
    if not 1 <= _number(text) <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 1 and {MOST_WORKERS}")
    return int(text)


def _drain(text: str) -> int:
    from minus_server.options import MOST_DRAIN

    if _number(text) > MOST_DRAIN:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MOST_DRAIN}")
    return int(text)


def _place(text: str) -> tuple[str, int]:
    """HOST:PORT, or a port of this machine alone; an IPv6 address in brackets."""
    host, _, port = text.rpartition(":")
    host = host or "127.0.0.1"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT")
    return host, _port(port)


def _base(text: str) -> str:
    """What links begin with: a scheme, a host, perhaps a port and a path."""
    try:
        parts = urlsplit(text)
        is_base = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not fit
        is_base = False
    plain = all("!" <= char <= "~" and char not in "?#" for char in text)
    if not (is_base and plain) or "@" in parts.netloc:
        why = "is not http:// or https:// with a host, in ASCII, without a user, ? and #"
        raise argparse.ArgumentTypeError(f"{text!r} {why}")
    return text


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no address and no network") from None


_LIMITS: tuple[tuple[str, Callable[[str], int], str, str], ...] = (
    ("registration-quota", _size, "10G", "room in bytes for the files of whoever registers"),
    ("anonymous-galleries", _number, "100", "galleries without an account, an hour and address"),
    ("anonymous-file", _size, "1G", "bytes of the largest file in them"),
    ("anonymous-total", _size, "20G", "room in bytes for all of them together"),
    ("anonymous-days", _number, "30", "days without a visit after which they end"),
)


def _web_options(serve: argparse.ArgumentParser) -> None:
    """What the service lets people do who have no account."""
    for name, ways, about in (
        ("registration", ("closed", "open"), "whether anybody may make an account"),
        ("anonymous", ("on", "off"), "whether galleries can be made without an account"),
        ("old-clients", ("on", "off"), "tokens by GET and in addresses, adding by reader ids"),
        (
            "presigned",
            ("off", "on"),
            "downloads from the object store itself, by short-lived links",
        ),
    ):
        shown = f"{about} (default: {ways[0]})"
        serve.add_argument(f"--{name}", choices=ways, default=ways[0], help=shown)
    for name, kind, usual, about in _LIMITS:
        shown = f"{about} (default: {usual})"
        serve.add_argument(f"--{name}", type=kind, default=usual, metavar="N", help=shown)
    about = "what picture addresses of API v1 begin with"
    serve.add_argument("--image-base", type=_base, metavar="URL", help=about)
    about = "address or network of a proxy whose X-Forwarded-For is believed; repeatable"
    serve.add_argument(
        "--trusted-proxy", type=_network, action="append", default=[], metavar="IP", help=about
    )


def _operation_options(serve: argparse.ArgumentParser) -> None:
    """How many processes serve, and what whoever runs them sees."""
    about = "processes that share the port (default: 1)"
    serve.add_argument("--workers", type=_workers, default=1, metavar="N", help=about)
    about = "seconds that a stop goes on to accept while /readyz says no (default: 0)"
    serve.add_argument("--drain", type=_drain, default=0, metavar="SECONDS", help=about)
    about = "serve though rows and bytes are not those of one service, or all bytes are lost"
    serve.add_argument("--foreign", action="store_true", help=about)
    about = "tell Prometheus there; a port alone is this machine's (default: off)"
    serve.add_argument("--metrics", type=_place, metavar="HOST:PORT", help=about)
    for name, ways, about in (
        ("log-format", ("text", "json"), "what lines on standard error look like"),
        ("access-log", ("off", "on"), "whether each request has a line there"),
    ):
        shown = f"{about} (default: {ways[0]})"
        serve.add_argument(f"--{name}", choices=ways, default=ways[0], help=shown)


def _parser() -> argparse.ArgumentParser:
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data",
        type=lambda text: Path(text).absolute(),
        default=default_data().absolute(),
        metavar="DIR",
        help="the folder of rows and bytes (default: $MINUS_DATA or %(default)s)",
    )
    data.add_argument(
        "--database-url",
        default=os.environ.get("MINUS_DATABASE_URL"),
        metavar="URL",
        help="rows elsewhere: postgresql+psycopg://… (default: $MINUS_DATABASE_URL)",
    )
    data.add_argument(
        "--blobs",
        default=os.environ.get("MINUS_BLOBS"),
        metavar="PLACE",
        help="bytes elsewhere: a folder, or s3://BUCKET/PREFIX?endpoint=URL ($MINUS_BLOBS)",
    )
    parser = argparse.ArgumentParser(prog="minus-server", description=__doc__)
    parser.add_argument("-V", "--version", action="version", version=f"minus-server {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str,
        run: Callable[[argparse.Namespace], int],
        about: str,
        *more: argparse.ArgumentParser,
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[data, *more], help=about, description=about)
        added.set_defaults(run=run)
        return added

    serve = command("serve", _serve, "serve the data folder until SIGTERM")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on")
    serve.add_argument("--port", type=_port, default=8642, help="0: any free one")
    serve.add_argument(
        "--base-url",
        type=_base,
        metavar="URL",
        help="the address that others use; links begin with it",
    )
    serve.add_argument(
        "--idle-exit", type=float, metavar="SECONDS", help="end after so long without a request"
    )
    for name, about in (("cert", "certificate with its chain, in PEM"), ("key", "its key, in PEM")):
        serve.add_argument(f"--tls-{name}", type=Path, metavar="FILE", help=f"serve TLS: {about}")
    _web_options(serve)
    _operation_options(serve)
    serve.add_argument("--embedded", action="store_true", help=argparse.SUPPRESS)
    commands.add_parser("worker").set_defaults(run=_work)
    adduser = command("adduser", _adduser, "make an account; asks for its password")
    adduser.add_argument("name")
    adduser.add_argument(
        "--quota", type=_size, metavar="BYTES", help="room for its files (default: 1T)"
    )
    command("passwd", _passwd, "change a password").add_argument("name")
    command("users", _users, "list the accounts")
    command("addclient", _addclient, "make an API key; prints a config file").add_argument("name")
    command("clients", _clients, "list the API keys")
    yes = argparse.ArgumentParser(add_help=False)
    yes.add_argument("-y", "--yes", action="store_true", help="do not ask")
    for name, run, operand, about in (
        ("deluser", _deluser, "name", "remove an account with all it has"),
        ("delclient", _delclient, "key", "remove an API key; what signed in with it is signed out"),
        ("remove", _remove, "link", "remove a gallery or an item, by a link to it or its id"),
    ):
        command(name, run, about, yes).add_argument(operand, metavar=operand.upper())
    command("migrate", _migrate, "make or upgrade the tables of a shared database")
    command("stop", _stop, "end the service of the data folder")
    command("check", _check, "read every file and compare it with its SHA-256")
    sweep = command("sweep", _sweep, "remove bytes that no file and no upload has")
    sweep.add_argument("--dry-run", action="store_true", help="only tell what would go")
    about = "even where the bytes are not this catalog's: they may be another service's"
    sweep.add_argument("--foreign", action="store_true", help=about)
    for name, run, about in (
        ("export", _export, "write everything as files for any web server"),
        ("import", _import, "read an export back into a service that is empty"),
    ):
        added = command(name, run, about)
        added.add_argument("folder", type=lambda text: Path(text).absolute(), metavar="DIR")
        if name == "import":
            _verify_option(added)
    _copy_options(commands)
    return parser


def _verify_option(command: argparse.ArgumentParser) -> None:
    about = "do not read everything at the target once more"
    command.add_argument("--no-verify", dest="verify", action="store_false", help=about)


def _copy_options(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "move everything to another place; run again, it goes on"
    copy = commands.add_parser("copy", help=about, description=about)
    copy.set_defaults(run=_copy)
    place = "a data folder, or the URL of a database"
    copy.add_argument("--from", dest="source", required=True, metavar="PLACE", help=place)
    copy.add_argument("--to", required=True, metavar="PLACE", help=f"{place}; it is empty")
    for way in ("from", "to"):
        about = "where its bytes are, if not in the folder: a folder, or s3://…"
        copy.add_argument(f"--{way}-blobs", metavar="PLACE", help=about)
    about = "take the rows as they are now, though the service goes on"
    copy.add_argument("--live", action="store_true", help=about)
    _verify_option(copy)


def main(argv: list[str] | None = None) -> int:
    """Run one command. -> exit status"""
    return _main(_parsed(argv))


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, taken apart; as they were in `argv`."""
    arguments = _parser().parse_args(argv)
    arguments.argv = sys.argv[1:] if argv is None else argv
    return arguments


def run() -> NoReturn:
    """Be the process `minus-server`.

    One that has served leaves at once: Python's finalization races with the threads of Granian,
    which abort the process (SIGABRT) when they lose.
    """
    arguments = _parsed(None)
    status = _main(arguments)
    if arguments.run in (_serve, _work):
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def _main(arguments: argparse.Namespace) -> int:
    os.umask(0o077)
    try:
        return _run(arguments)
    except ModuleNotFoundError as error:
        _complain(arguments, _MISSING.format(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _complain(arguments, f"minus-server: {where}{error.strerror or error}")
    except EOFError:
        print("minus-server: nothing was typed", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def _run(arguments: argparse.Namespace) -> int:
    from sqlalchemy.exc import SQLAlchemyError

    from minus_server.errors import CannotServe, Refused

    try:
        status: int = arguments.run(arguments)
        return status
    except (Refused, CannotServe) as error:
        _complain(arguments, f"minus-server: {error}")
    except SQLAlchemyError as error:
        _complain(arguments, f"minus-server: the catalog: {error}")
    return 2 if arguments.run is _serve else 1


def _complain(arguments: argparse.Namespace, words: str) -> None:
    """Say what went wrong on standard error; a service whose log is JSON says it so."""
    if getattr(arguments, "log_format", "text") == "text":
        print(words, file=sys.stderr)
        return
    import logging

    logging.getLogger("minus_server").critical(words.removeprefix("minus-server: "))
