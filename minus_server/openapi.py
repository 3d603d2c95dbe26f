"""`/openapi.json`, made from the declarations that the routes themselves are made from."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from minus_server import __version__, api_v2, extensions, tars
from minus_server.endpoints import Endpoint, Field, json_response
from minus_server.names import SCOPES

JSON = dict[str, Any]

_TEXT: JSON = {"type": "string"}
_NUMBER: JSON = {"type": "integer"}
_FLAG: JSON = {"type": "boolean"}
_LINK: JSON = {"type": "string", "format": "uri"}
_DATE: JSON = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$"}


def _object(**kinds: str) -> JSON:
    """A schema from words: `name="id caption", ...` lists the fields of each type."""
    schemas = {"text": _TEXT, "number": _NUMBER, "flag": _FLAG, "link": _LINK, "date": _DATE}
    properties = {name: schemas[kind] for kind in kinds for name in kinds[kind].split()}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _schemas() -> JSON:
    user = _object(
        text="username display_name fb_username fb_profile_link slug twitter_screen_name",
        number="visits karma shared",
        link="folders url avatar followers following",
    )
    user["properties"] |= {
        "description": {"type": ["string", "null"]},
        "email": _TEXT,
        "storage_used": _NUMBER,
        "storage_quota": _NUMBER,
        "followers_slug_list": {"type": "array", "items": _TEXT},
        "following_slug_list": {"type": "array", "items": _TEXT},
    }
    folder = _object(
        text="id name",
        number="view_count file_count last_updated_ago created_ago",
        flag="is_public",
        date="date_last_updated last_updated created",
        link="creator files url thumbnail_url",
    )
    folder["properties"]["item_ordering"] = {"type": "array", "items": _TEXT}
    extended = _object(
        text="id name display_name",
        number="file_count view_count star_count flag_count score created_ago",
        flag="is_public featured active is_flagged is_starred is_reshared is_saved",
        date="created",
        link="creator thumbnail_url files url",
    )
    file = _object(
        text="id name title caption mimetype sha256",
        number="width height filesize uploaded_ago",
        date="uploaded",
        link="folder url url_rawfile url_thumbnail url_thumbnail_medium",
    )
    file["properties"]["url_preview"] = {"type": ["string", "null"], "format": "uri"}
    error = _object(text="error error_description")
    error["properties"]["file"] = _TEXT  # which one is to blame, in a request with many
    return {
        "User": user,
        "Folder": folder,
        "ExtendedFolder": extended,
        "File": file,
        "Message": _object(text="body", flag="read", link="target sender thread", date="created"),
        "Link": _object(link="url"),
        "Token": _object(
            text="access_token token_type refresh_token scope", number="expires_in expire_in"
        ),
        "Upload": _upload_state(),
        "Service": _service(),
        "Error": error,
    }


def _upload_state() -> JSON:
    """How far an upload is."""
    schema = _object(number="offset", date="expires")
    schema["properties"] |= {
        "size": {"type": ["integer", "null"]},
        "file": {"anyOf": [_ref("File"), {"type": "null"}]},
    }
    schema["required"] += ["size", "file"]
    return schema


def _service() -> JSON:
    """What the service knows: each extension with its limits."""
    limits = {
        name: _object(
            number=" ".join(key for key in of if isinstance(of[key], int)),
            text=" ".join(key for key in of if isinstance(of[key], str)),
        )
        for name, of in extensions.DOCUMENT["extensions"].items()
    }
    service = _object(text="name version")
    service["properties"]["extensions"] = {
        "type": "object",
        "properties": limits,
        "required": list(limits),
    }
    service["required"].append("extensions")
    return service


def _ref(name: str) -> JSON:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(name: str, *, by_cursor: bool) -> JSON:
    schema = _object(number="page per_page total pages")
    link = {"type": ["string", "null"], "format": "uri"}
    schema["properties"] |= {
        "results": {"type": "array", "items": _ref(name)},
        "next": link,
        "previous": link,
    }
    schema["required"] = [*schema["required"], "results", "next", "previous"]
    if by_cursor:  # then `total` may be unknown, and pages have no number
        schema["properties"]["total"] = {"type": ["integer", "null"]}
        schema["required"] = ["results", "next", "per_page", "total"]
    return schema


def _answer(schema: JSON) -> JSON:
    return {"description": "Done", "content": {"application/json": {"schema": schema}}}


_REFUSED: JSON = {
    "4XX": {"description": "Refused", "content": {"application/json": {"schema": _ref("Error")}}}
}


def _property(field: Field) -> JSON:
    return {"type": field.kind, "description": field.about}


def _body(fields: dict[str, Field]) -> JSON:
    schema = {
        "type": "object",
        "properties": {name: _property(field) for name, field in fields.items()},
        "required": [name for name, field in fields.items() if field.required],
    }
    form = "application/x-www-form-urlencoded"
    return {
        "required": any(field.required for field in fields.values()),
        "content": {form: {"schema": schema}},
    }


def _headers(**about: str) -> list[JSON]:
    """Headers of a request; those of tus and some others are texts for us."""
    return [
        {
            "name": name.replace("_", "-"),
            "in": "header",
            "description": text,
            "schema": {"type": "string"},
        }
        for name, text in about.items()
    ]


_AGAIN = _headers(Idempotency_Key="a repeat with the same key gives the first result")


def _path_parameters(path: str) -> list[JSON]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]


def _query(fields: Mapping[str, Field]) -> list[JSON]:
    least = {"integer": {"minimum": 1}}
    return [
        {
            "name": name,
            "in": "query",
            "description": field.about,
            "schema": {"type": field.kind, **least.get(field.kind, {})},
        }
        for name, field in fields.items()
    ]


def _operation(row: Endpoint) -> JSON:
    operation: JSON = {"summary": row.about, "parameters": _path_parameters(row.path)}
    if row.method == "GET":
        operation["parameters"] += _query(row.fields)
    elif row.fields:
        operation["requestBody"] = _body(dict(row.fields))
    if row.again is not None:
        operation["parameters"] += _AGAIN
    if row.answer is None:
        done: JSON = {"204": {"description": "Done"}}
    else:
        by_cursor = "cursor" in row.fields
        listed = _list_of(row.answer, by_cursor=by_cursor) if row.is_list else _ref(row.answer)
        done = {"200": _answer(listed)}
    return operation | {"responses": done | _REFUSED}


def _upload() -> JSON:
    schema = {
        "type": "object",
        "properties": {
            "file": {"type": "string", "format": "binary"},
            "filename": _TEXT,
            "caption": _TEXT,
        },
        "required": ["file"],
    }
    return {
        "summary": "Add a file to a folder",
        "parameters": [*_path_parameters("folders/{id}/files"), *_AGAIN],
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}},
        "responses": {"200": _answer(_ref("File"))} | _REFUSED,
    }


def _tar(about: str, *, by_ids: bool) -> JSON:
    done = {"description": "A tar stream", "content": {"application/x-tar": {"schema": {}}}}
    operation: JSON = {"summary": about, "parameters": _path_parameters("folders/{id}/tar")}
    if by_ids:
        operation["requestBody"] = _body(tars.CHOSEN)
    else:
        operation["parameters"] += _query(tars.MATCHING)
    return operation | {"responses": {"200": done} | _REFUSED}


def _about_service() -> JSON:
    return {
        "summary": "What the service knows beside API v2",
        "security": [],
        "responses": {"200": _answer(_ref("Service"))} | _REFUSED,
    }


def _put() -> JSON:
    body = {"required": True, "content": {"*/*": {"schema": {}}}}
    about = {"name": "caption", "in": "query", "schema": _TEXT}
    return {
        "summary": "Add a file to a folder: the body is the file",
        "parameters": [*_path_parameters("{id}/{name}"), about, *_AGAIN],
        "requestBody": body,
        "responses": {"200": _answer(_ref("File"))} | _REFUSED,
    }


def _batch() -> JSON:
    files = {"type": "array", "items": {"type": "string", "format": "binary"}}
    schema = {"type": "object", "properties": {"file": files}, "required": ["file"]}
    rows: JSON = {"type": "array", "items": _ref("File")}
    done = {"type": "object", "properties": {"results": rows}, "required": ["results"]}
    return {
        "summary": "Add many small files to a folder, all or none",
        "parameters": [
            *_path_parameters("{id}"),
            {"name": "fields", "in": "query", "schema": _TEXT},
            *_AGAIN,
        ],
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}},
        "responses": {"200": _answer(done)} | _REFUSED,
    }


_DONE: JSON = {"204": {"description": "Done"}}
_VERSION = _headers(Tus_Resumable="1.0.0")
_OF_BYTES = _headers(
    Upload_Checksum="sha256 or sha1, and the digest of these bytes in base64",
    Repr_Digest="the SHA-256 of the whole file (RFC 9530)",
)


def _tus(about: str, path: str, parameters: list[JSON], done: JSON, *, body: bool = False) -> JSON:
    operation: JSON = {
        "summary": about,
        "parameters": [*_path_parameters(path), *parameters],
        "responses": done | _REFUSED,
    }
    if body:
        operation["requestBody"] = {"content": {"application/offset+octet-stream": {"schema": {}}}}
    return operation


def _begin_upload() -> JSON:
    parameters = _headers(
        Upload_Length="bytes of the file",
        Upload_Defer_Length="1 where they are not known yet",
        Upload_Metadata="filename, filetype and caption, each with base64",
    )
    done = {"201": {"description": "Begun: Location is its address"}}
    parameters = [*_VERSION, *parameters, *_OF_BYTES, *_AGAIN]
    return _tus("Begin an upload by tus", "{id}", parameters, done, body=True)


def _uploading() -> JSON:
    """The operations on an upload's address."""
    path, file = "{secret}", {"200": _answer(_ref("File"))}
    offset = _headers(
        Upload_Offset="where these bytes begin",
        Upload_Length="bytes of the file, where they were not told",
        Prefer="return=representation: the File with the answer that completes it",
    )
    other = _headers(X_HTTP_Method_Override="PATCH, DELETE or HEAD")
    return {
        "get": _tus("How far an upload is", path, [], {"200": _answer(_ref("Upload"))}),
        "patch": _tus("Add bytes", path, [*_VERSION, *offset, *_OF_BYTES], _DONE | file, body=True),
        "post": _tus(
            "PATCH or DELETE for who cannot send these",
            path,
            [*_VERSION, *other, *offset, *_OF_BYTES],
            _DONE | file,
            body=True,
        ),
        "delete": _tus("Give an upload up", path, _VERSION, _DONE),
        "options": _tus("What of tus is known", path, [], _DONE),
    }


def _token() -> JSON:
    fields = {
        "grant_type": Field(str, "password, refresh_token or client_credentials", required=True),
        "client_id": Field(str, "the API key", required=True),
        "client_secret": Field(str, "the API secret", required=True),
        "scope": Field(str, f"of {' '.join(SCOPES)}, separated by spaces"),
        "username": Field(str, "for the grant password"),
        "password": Field(str, "for the grant password"),
        "refresh_token": Field(str, "for the grant refresh_token"),
    }
    return {
        "summary": "Get an access token",
        "security": [],
        "requestBody": _body(fields),
        "responses": {"200": _answer(_ref("Token"))} | _REFUSED,
    }


def _bytes(about: str) -> JSON:
    done = {"description": "The bytes", "content": {"*/*": {"schema": {}}}}
    return {
        "summary": about,
        "security": [],
        "parameters": _path_parameters("{link}"),
        "responses": {"200": done, "206": done, "304": {"description": "Not modified"}} | _REFUSED,
    }


@cache
def document() -> JSON:
    """The description, without the address of any one service."""
    paths: dict[str, JSON] = {"/oauth/token": {"post": _token()}}
    for row in api_v2.ENDPOINTS:
        paths.setdefault(f"/api/v2/{row.path}", {})[row.method.lower()] = _operation(row)
    paths["/api/v2/folders/{id}/files"]["post"] = _upload()
    paths["/api/v2/folders/{id}/tar"] = {
        "get": _tar("Files of a folder as a tar stream", by_ids=False),
        "post": _tar("Some files of a folder as a tar stream", by_ids=True),
    }
    paths["/api/v2"] = {"get": _about_service()}
    paths["/api/v2/folders/{id}/files/{name}"] = {"put": _put()}
    paths["/api/v2/folders/{id}/batch"] = {"post": _batch()}
    paths["/api/v2/folders/{id}/uploads"] = {
        "post": _begin_upload(),
        "options": _tus("What of tus is known", "{id}", [], _DONE),
    }
    paths["/uploads/{secret}"] = _uploading()
    for letter, about in (("i", "A file"), ("j", "A thumbnail"), ("k", "A medium thumbnail")):
        paths[f"/{letter}{{link}}"] = {"get": _bytes(about)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Minus", "version": __version__},
        "paths": paths,
        "security": [{"bearer": []}],
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


async def describe(request: Request) -> Response:
    """GET /openapi.json."""
    server = {"url": request.app.state.wire.base.rstrip("/")}
    return json_response(document() | {"servers": [server]})
