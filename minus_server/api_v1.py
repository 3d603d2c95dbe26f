"""API v1, the gallery API of 2010: a handler a row of the reference's table."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from minus_server import names, web
from minus_server.accounts import WRONG_PASSWORD
from minus_server.catalog import Entry, File, Folder, User
from minus_server.endpoints import json_response, replayed
from minus_server.errors import BadRequest
from minus_server.repeats import Replayed
from minus_server.uploads import upload_item
from minus_server.web import Visit, answers, end_session, start_session
from minus_server.wire import JSON, ago, ending

PER_PAGE = 20  # galleries of a timeline
_DONE: JSON = {"success": True}


def create_gallery(visit: Visit) -> Response:
    try:
        return _created(visit.service.galleries.create(visit.user, visit.address, once=visit.once))
    except Replayed as first:
        return replayed(_created(visit.service.library.linked_folder(first.made[0])))


def _created(folder: Folder) -> Response:
    return json_response({"editor_id": folder.editor_id or folder.id, "reader_id": folder.id})


def save_gallery(visit: Visit) -> Response:
    galleries, fields = visit.service.galleries, visit.fields
    folder = galleries.editable(_gallery_id(visit), visit.user)
    title = fields.get("name", "").strip()
    try:
        ids = names.id_list(fields.get("items", ""))
    except BadRequest:
        ids = []
    galleries.save(folder, names.folder_name(title) if title else None, ids)
    return json_response(_DONE)


def delete_gallery(visit: Visit) -> Response:
    """Ours: what the editor id was always good for, but on the pages."""
    folder = visit.service.galleries.editable(_gallery_id(visit), visit.user)
    visit.service.library.remove_folder(folder)
    return json_response(_DONE)


def _gallery_id(visit: Visit) -> str:
    return visit.fields.get("id") or visit.fields.get("editor_id") or ""


def get_items(visit: Visit) -> Response:
    folder = visit.service.galleries.visit(visit.path["id"], visit.user).folder
    items = visit.service.library.files(folder, 0, names.MAX_ORDER)
    base = visit.service.policy.image_base or visit.wire.base
    return json_response(
        {
            "READ_ONLY_URL_FOR_GALLERY": folder.id,
            "GALLERY_TITLE": folder.name,
            "ITEMS_GALLERY": [f"{base}i{item.id}{ending(item.name)}" for item in items],
            "ITEMS_NAME": [item.name for item in items],
        }
    )


def item(file: File) -> Response:
    """The answer to UploadItem."""
    return json_response(
        {
            "id": file.id,
            "height": file.height,
            "width": file.width,
            "filesize": f"{file.size} bytes",
        }
    )


def register(visit: Visit) -> Response:
    refused = web.register(visit)
    return _refused(refused) if refused else json_response(_DONE)


def sign_in(visit: Visit) -> Response:
    name = visit.fields.get("username", "").strip()
    password = visit.fields.get("password1") or visit.fields.get("password", "")
    missing = {} if name else {"username": "A username is required."}
    if not password:
        missing["password"] = "A password is required."
    if missing:
        return _refused(missing)
    user = visit.service.accounts.check_password(name, password, visit.address)
    if user is None:
        return _refused({"password": WRONG_PASSWORD})
    response = json_response(_DONE)
    start_session(visit, response, user)
    return response


def _refused(reasons: dict[str, str]) -> Response:
    return json_response({"success": False} | reasons)


def sign_out(visit: Visit) -> Response:
    response = json_response(_DONE)
    end_session(visit, response)
    return response


def set_public(visit: Visit) -> Response:
    return _publish(visit, public=True)


def set_private(visit: Visit) -> Response:
    return _publish(visit, public=False)


def _publish(visit: Visit, *, public: bool) -> Response:
    folder = visit.service.galleries.editable(visit.path["id"], visit.user)
    visit.service.library.alter_folder(folder, {"is_public": public})
    return json_response(_DONE)


def timeline(visit: Visit, kind: str) -> Response:
    """MyGalleries.json and the panes, each with a page number behind a slash."""
    user = visit.need_user()
    number = names.page(visit.path.get("page", "1"))
    total, entries = visit.service.galleries.timeline(kind, user, number, PER_PAGE)
    now = int(visit.service.clock())
    rows = [_entry(entry, user, now) for entry in entries]
    return json_response({"total_pages": max(1, -(-total // PER_PAGE)), "galleries": rows})


def _entry(entry: Entry, viewer: User, now: int) -> JSON:
    """A gallery of a timeline; of one that is gone, what the history kept."""
    folder = entry.folder
    own = folder is not None and folder.owner_n == viewer.n
    counts = (folder.file_count, folder.view_count) if folder else (0, 0)
    cover = f"{folder.cover_id}{ending(folder.cover_name or '')}" if folder else ""
    return {
        "last_visit": ago(now - entry.last),
        "name": entry.name,
        "item_count": counts[0],
        "clicks": counts[1],
        "reader_id": entry.id,
        "editor_id": entry.id if own else "Unavailable" if folder else "Deleted",
        "thumbnail_id": cover if folder and folder.cover_id else "",
        "creator": folder.owner_username if folder else "",
        "is_public": str(folder is not None and folder.is_public),
    }


async def upload(request: Request) -> Response:
    """UploadItem."""
    return await upload_item(request, item)


_TIMELINES = {
    "MyGalleries": "history",
    "pane/history": "history",
    "pane/mine": "mine",
    "pane/feed": "feed",
}
_EITHER = ["GET", "POST"]


_answers = partial(answers, tokens=True)

ROUTES = [
    Route("/api/CreateGallery", _answers(create_gallery, changes=True), methods=_EITHER),
    Route("/api/UploadItem", upload, methods=["POST", "PUT"]),
    Route("/api/SaveGallery", _answers(save_gallery, changes=True), methods=_EITHER),
    Route("/api/DeleteGallery", _answers(delete_gallery, changes=True), methods=["POST"]),
    Route("/api/GetItems/{id}", _answers(get_items), methods=_EITHER),
    Route("/api/login/register", _answers(register, signs_in=True), methods=["POST"]),
    Route("/api/SignIn", _answers(sign_in, signs_in=True), methods=["POST"]),
    Route("/api/SignOut", _answers(sign_out, changes=True), methods=_EITHER),
    Route("/api/set_public/{id}", _answers(set_public, changes=True), methods=_EITHER),
    Route("/api/set_private/{id}", _answers(set_private, changes=True), methods=_EITHER),
    *(
        Route(f"/api/{path}.json{page}", _answers(partial(timeline, kind=kind)), methods=_EITHER)
        for path, kind in _TIMELINES.items()
        for page in ("", "/{page}")
    ),
]
