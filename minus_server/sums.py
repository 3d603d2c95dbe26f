"""`/mID/SHA256SUMS`: what `sha256sum -c` reads, for the files of a gallery's ZIP."""

from collections.abc import Iterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from minus_server.catalog import Folder, Part
from minus_server.links import HARMLESS, disposition
from minus_server.service import Service
from minus_server.web import user_of
from minus_server.zips import MemberNames

_AT_ONCE = 500  # files


async def sums(request: Request) -> Response:
    """GET /mID/SHA256SUMS."""
    service: Service = request.app.state.service

    def find() -> Folder:
        folder = service.galleries.held(request.path_params["id"], user_of(request, {})).folder
        service.library.keep_alive(folder)
        return folder

    folder = await run_in_threadpool(find)
    headers = {
        **HARMLESS,
        "Content-Disposition": disposition("inline", "SHA256SUMS"),
        "Cache-Control": "private, no-cache",
    }
    if request.method == "HEAD":
        return Response(headers=headers, media_type="text/plain")
    return StreamingResponse(_lines(service, folder), headers=headers, media_type="text/plain")


def _lines(service: Service, folder: Folder) -> Iterator[bytes]:
    """The lines, some hundred at a time, in the folder's order.

    A member's name has neither a line's end nor a backslash, so none needs `sha256sum`'s escapes.
    """
    members = MemberNames()
    place: tuple[int, ...] | None = ()
    while place is not None:
        part = Part(_AT_ONCE, after=place)
        found = service.library.some_files(folder, ("name", "sha256"), part)
        lines = [f"{row[1]}  {members.take(row[0])}\n" for row in found.rows]
        yield "".join(lines).encode()
        place = found.following
