"""What the forms of the pages post to: a browser is sent on to the page that shows the outcome,
a script that asks for JSON is answered where it needs no page."""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from minus_server import names, pages, parse, uploads, web
from minus_server.accounts import WRONG_PASSWORD
from minus_server.catalog import File, Folder
from minus_server.endpoints import json_response, replayed
from minus_server.errors import BadRequest, NotFound, Refused
from minus_server.repeats import Once, Replayed
from minus_server.service import Service
from minus_server.web import (
    Visit,
    address,
    end_session,
    once_of,
    refuse_other_sites,
    session_user,
    start_session,
    user_of,
)


def done(visit: Visit, path: str, note: str = "saved") -> Response:
    """The answer to a form: JSON for a script, else the page it leads to."""
    if "application/json" in visit.request.headers.get("accept", ""):
        return json_response({})
    return pages.see_other(visit, f"{path}?note={note}" if note else path)


# --- files onto the first page ---


async def drop(request: Request) -> Response:
    """POST /: files make a gallery. PUT /NAME: so does the body, for `curl -T`.

    A browser is led to the gallery; a program gets its link as a line of text.
    """
    refuse_other_sites(request, always=True)  # it would replace the editor ids of the browser
    service: Service = request.app.state.service
    made: list[Folder] = []

    def find(fields: parse.Parameters) -> Folder:
        user = user_of(request, fields)
        made.append(service.galleries.create(user, address(request)))
        return made[0]

    def once() -> Once | None:
        by_key = "idempotency-key" in request.headers
        return once_of(request, user_of(request, parse.query(request))) if by_key else None

    def answer(files: list[File], key: Once | None) -> Response:
        title = files[0].name + (f" and {len(files) - 1} more" if len(files) > 1 else "")
        name = names.folder_name(title[: names.MAX_NAME])
        return _dropped(request, service.library.close_drop(made[0], name, files, key))

    try:
        key = await run_in_threadpool(once)
        files = await uploads.add_to(request, find, request.path_params.get("name", ""), key)
        return await run_in_threadpool(answer, files, key)
    except BaseException as error:
        for folder in made:  # all of it or nothing: nobody was told of it
            await run_in_threadpool(service.library.remove_folder, folder, forget=True)
        if isinstance(error, Replayed):
            first = await run_in_threadpool(service.library.linked_folder, error.made[0])
            return replayed(_dropped(request, first))
        if isinstance(error, Refused) and request.headers.get("accept", "*/*") == "*/*":
            return PlainTextResponse(f"{error}\n", error.status)
        raise


def _dropped(request: Request, folder: Folder) -> Response:
    """The answer to who made a gallery of files."""
    visit = Visit(request, request.app.state.service, request.app.state.wire, None, {})
    if pages.wants_page(request):
        response = pages.see_other(visit, f"m{folder.id}")
    else:
        response = PlainTextResponse(f"{visit.wire.base}m{folder.id}\n", 201)
    if folder.editor_id is not None:
        pages.remember_editor(visit, response, folder.editor_id)
        response.headers["X-Edit-Link"] = f"{visit.wire.base}m{folder.editor_id}"
    return response


async def anything(request: Request) -> Response:
    """PUT /NAME; any other request for an address that nothing has."""
    if request.method != "PUT":
        raise NotFound("There is nothing at this address.")
    return await drop(request)


# --- a gallery ---


def edit_gallery(visit: Visit) -> Response:
    folder = visit.service.galleries.editable(visit.path["id"], visit.user)
    changes: dict[str, Any] = {}
    if "name" in visit.fields:
        changes["name"] = names.folder_name(visit.fields["name"])
    if "is_public" in visit.fields:
        changes["is_public"] = names.boolean(visit.fields["is_public"])
    if changes:
        visit.service.library.alter_folder(folder, changes)
    return done(visit, f"m{folder.id}")


def move(visit: Visit) -> Response:
    folder, file = visit.service.galleries.item(
        visit.fields.get("item", ""), visit.path["id"], visit.user
    )
    visit.service.library.move_file(file, names.place(visit.fields.get("to", "")))
    return done(visit, f"m{folder.id}", "")


def order(visit: Visit) -> Response:
    folder = visit.service.galleries.editable(visit.path["id"], visit.user)
    ids = names.id_list(visit.fields.get("items", ""))
    visit.service.library.alter_folder(folder, {"item_ordering": ids})
    return done(visit, f"m{folder.id}")


def delete_gallery(visit: Visit) -> Response:
    folder = visit.service.galleries.editable(visit.path["id"], visit.user)
    visit.service.library.remove_folder(folder)
    return done(visit, "mine" if visit.user else "", "deleted")


async def add(request: Request) -> Response:
    """POST /mKEY/add: more files into a gallery, from its page."""
    refuse_other_sites(request)
    service: Service = request.app.state.service
    found: list[Folder] = []

    def find(fields: parse.Parameters) -> Folder:
        user = session_user(request, fields)
        found.append(service.galleries.editable(request.path_params["id"], user))
        return found[0]

    await uploads.add_to(request, find)
    visit = Visit(request, service, request.app.state.wire, None, {})
    return done(visit, f"m{found[0].id}", "added")


# --- an item ---


def edit_item(visit: Visit) -> Response:
    folder, file = _item(visit)
    parsers = {"caption": names.text, "title": names.text, "name": names.file_name}
    changes = {
        field: parser(visit.fields[field])
        for field, parser in parsers.items()
        if field in visit.fields
    }
    visit.service.library.alter_file(folder, file, changes)
    from_item = visit.request.headers.get("referer", "").rpartition("/")[2].startswith("l")
    return done(visit, f"l{file.id}" if from_item else f"m{folder.id}")


def delete_item(visit: Visit) -> Response:
    folder, file = _item(visit)
    visit.service.library.remove_files(folder, [file])
    return done(visit, f"m{folder.id}", "deleted")


def _item(visit: Visit) -> tuple[Folder, File]:
    key = visit.fields.get("key", "")
    return visit.service.galleries.item(visit.path["id"], key, visit.user)


# --- people ---


def follow(visit: Visit) -> Response:
    me, slug = visit.need_user(), visit.path["slug"]
    visit.service.accounts.follow(visit.caller, me.slug, slug)
    return done(visit, f"u{names.slug(slug)}", "")


def unfollow(visit: Visit) -> Response:
    me, slug = visit.need_user(), visit.path["slug"]
    visit.service.accounts.unfollow(visit.caller, me.slug, slug)
    return done(visit, f"u{names.slug(slug)}", "")


def signin(visit: Visit) -> Response:
    name, password = visit.fields.get("username", ""), visit.fields.get("password1", "")
    user = visit.service.accounts.check_password(name, password, visit.address)
    onward = pages.local_path(visit)
    if user is None:
        return pages.render(
            visit,
            "signin.html",
            400,
            values={"username": name},
            errors={"password": WRONG_PASSWORD},
            next=onward,
        )
    response = pages.see_other(visit, onward)
    start_session(visit, response, user)
    return response


def register(visit: Visit) -> Response:
    if not visit.service.policy.registration:
        raise NotFound("Registration is closed on this service.")
    given = {name: visit.fields.get(name, "").strip() for name in ("username", "email")}
    onward, errors = pages.local_path(visit), web.register(visit)
    if errors:
        return pages.render(visit, "register.html", 400, values=given, errors=errors, next=onward)
    response = pages.see_other(visit, onward)
    start_session(visit, response, visit.service.accounts.user(given["username"]))
    return response


def signout(visit: Visit) -> Response:
    response = pages.see_other(visit, "")
    end_session(visit, response)
    return response


# --- settings ---


def profile(visit: Visit) -> Response:
    visit.need_user()
    parsers = {"display_name": names.text, "description": names.text, "email": names.email}
    try:
        changes = {
            field: parser(visit.fields[field].strip())
            for field, parser in parsers.items()
            if field in visit.fields
        }
    except BadRequest as error:
        return pages.settings(visit, problem=str(error))
    visit.service.accounts.change_profile(visit.caller, changes)
    return done(visit, "settings")


def password(visit: Visit) -> Response:
    me, fields = visit.need_user(), visit.fields
    accounts = visit.service.accounts
    first, second = fields.get("password1", ""), fields.get("password2", "")
    problem = None
    if accounts.check_password(me.slug, fields.get("old", ""), visit.address) is None:
        problem = "The old password is wrong."
    elif first != second:
        problem = "The password does not match."
    try:
        if problem is None:
            accounts.set_password(me.slug, first)
    except BadRequest as error:
        problem = str(error)
    if problem is not None:
        return pages.settings(visit, problem=problem)
    response = done(visit, "settings", "password")
    start_session(visit, response, me)
    return response


def add_client(visit: Visit) -> Response:
    me = visit.need_user()
    name = visit.fields.get("name", "").strip()
    try:
        key, secret = visit.service.accounts.add_client(name or "a program", me)
    except BadRequest as error:
        return pages.settings(visit, problem=str(error))
    config = (
        f"[api]\nurl: {visit.wire.base}\nusername: {me.username}\n"
        f"api_key: {key}\napi_secret: {secret}\n"
    )
    return pages.settings(visit, new_client={"key": key, "secret": secret, "config": config})


def revoke_client(visit: Visit) -> Response:
    visit.service.accounts.revoke_client(visit.need_user(), visit.path["id"])
    return done(visit, "settings", "revoked")
