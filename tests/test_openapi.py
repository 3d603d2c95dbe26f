"""The description at `/openapi.json`: well formed, complete, and true of every answer."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route

from minus_server.app import ROUTES
from minus_server.openapi import document
from tests import rawhttp
from tests.live import Service
from tests.rawhttp import ALL, Client, new_user

JSON = dict[str, Any]

DOCUMENT: JSON = document()
SCHEMAS: JSON = DOCUMENT["components"]["schemas"]
TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
METHODS = {"get", "put", "post", "patch", "delete", "options"}
OPERATIONS = {
    (method, path): operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}
TAR = ("get", "/api/v2/folders/{id}/tar")
SHORT = {("get", "/i{link}"), ("get", "/j{link}"), ("get", "/k{link}")}


# --- well formed ---


def schemas_in(node: object) -> Iterator[JSON]:
    """Every schema below a part of the document."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if key == "schema":
            yield from parts_of(value)
        yield from schemas_in(value)


def parts_of(schema: JSON) -> Iterator[JSON]:
    yield schema
    inner = [*schema.get("anyOf", ()), *filter(None, [schema.get("items")])]
    for part in (*schema.get("properties", {}).values(), *inner):
        yield from parts_of(part)


def resolved(schema: JSON) -> JSON:
    name = schema.get("$ref", "").removeprefix("#/components/schemas/")
    found: JSON = SCHEMAS[name] if name else schema
    return found


def test_the_document_has_what_openapi_3_1_asks_for() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"] == {"title": "Minus", "version": "2.0.0"}
    assert set(DOCUMENT) <= {"openapi", "info", "paths", "security", "components", "servers"}
    assert set(DOCUMENT["security"][0]) == set(DOCUMENT["components"]["securitySchemes"])
    templates = [re.sub(r"{\w+}", "{}", path) for path in DOCUMENT["paths"]]
    assert len(set(templates)) == len(templates)


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=" ".join)
def test_an_operation_is_well_formed(method: str, path: str) -> None:
    operation = OPERATIONS[method, path]
    fields = {"summary", "parameters", "requestBody", "responses", "security"}
    assert set(operation) <= fields
    assert method in METHODS
    parameters = operation.get("parameters", [])
    assert [p["name"] for p in parameters if p["in"] == "path"] == re.findall(r"{(\w+)}", path)
    assert all(p["required"] is True for p in parameters if p["in"] == "path")
    assert all(p["in"] in ("path", "query", "header") and "schema" in p for p in parameters)
    assert len({(p["name"], p["in"]) for p in parameters}) == len(parameters)
    assert method != "get" or "requestBody" not in operation
    responses = operation["responses"]
    assert all(re.fullmatch("[1-5](XX|[0-9]{2})", status) for status in responses)
    assert all(response["description"] for response in responses.values())
    assert "4XX" in responses


def test_every_schema_is_well_formed_and_every_reference_leads_somewhere() -> None:
    schemas = [*schemas_in(DOCUMENT["paths"])]
    schemas += [part for schema in SCHEMAS.values() for part in parts_of(schema)]
    for schema in schemas:
        found, types = resolved(schema), schema.get("type", [])
        assert {types} if isinstance(types, str) else set(types) <= {*TYPES, "null"}
        assert set(found.get("required", [])) <= set(found.get("properties", {}))
        assert (schema.get("type") == "array") == ("items" in schema)
        re.compile(schema.get("pattern", ""))
    used = {schema["$ref"] for schema in schemas if "$ref" in schema}
    assert used == {f"#/components/schemas/{name}" for name in SCHEMAS}


# --- complete ---


def test_the_description_and_the_routes_name_the_same_operations() -> None:
    served = {
        (method.lower(), route.path)
        for route in ROUTES
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = ("/api/v2", "/oauth/token", "/uploads/{", "/i{", "/j{", "/k{")
    served = {operation for operation in served if operation[1].startswith(described)}
    assert served - {("get", "/oauth/token")} == set(OPERATIONS)
    api = {operation for operation in served if operation[1].startswith(("/api/v2", "/uploads/"))}
    assert set(OPERATIONS) - api == {("post", "/oauth/token"), *SHORT}


def test_every_list_has_its_parameters_and_nothing_else_has() -> None:
    filters = ["name", "match"]
    of_list = ["page", "per_page", "fields"]
    walked = {"/api/v2/users/{slug}/folders", "/api/v2/folders/{id}/files"}
    for (method, path), operation in OPERATIONS.items():
        if method != "get":
            continue
        answer = (
            operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
        )
        is_list = "results" in resolved(answer.get("schema", {})).get("properties", {})
        queries = [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"]
        expected = of_list if is_list else []
        if is_list and path in walked:
            expected = [*of_list, *filters, "cursor"]
        if (method, path) == TAR:
            expected = filters
        assert queries == expected, (method, path)


# --- true ---


def assert_fits(value: Any, schema: JSON, where: str) -> None:
    """Hold a value to its schema; a field that is not declared fails too."""
    if "anyOf" in schema:
        schema = schema["anyOf"][value is None]
    schema = resolved(schema)
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if value is None:
        assert "null" in types, where
        return
    assert type(value) in [TYPES[name] for name in types if name != "null"], (where, value)
    if isinstance(value, str):
        assert re.search(schema.get("pattern", ""), value), (where, value)
        assert schema.get("format") != "uri" or re.fullmatch(r"http://\S+", value), (where, value)
    if isinstance(value, list):
        for item in value:
            assert_fits(item, schema["items"], f"{where}[]")
    if isinstance(value, dict):
        assert set(schema.get("required", [])) <= set(value), where
        assert set(value) <= set(schema["properties"]), where
        for name, item in value.items():
            assert_fits(item, schema["properties"][name], f"{where}.{name}")


def answer_schema(method: str, path: str) -> JSON:
    content = OPERATIONS[method, path]["responses"]["200"]["content"]
    found: JSON = content["application/json"]["schema"]
    return found


@pytest.fixture(scope="module")
def alice(service: Service) -> Client:
    return new_user(service, "openapi")


@pytest.fixture(scope="module")
def known(service: Service, alice: Client) -> dict[str, str]:
    """What stands in the paths, after something of every kind was made: no list is empty."""
    bob = new_user(service, "openapi")
    folder, other = alice.folder(), bob.folder()
    file = alice.upload(rawhttp.png(3, 2), "a.png", folder)
    alice.upload(folder=folder)
    for one, two in ((alice, bob), (bob, alice)):
        one.ok("POST", f"users/{one.slug}/following", {"slug": two.slug})
        one.ok("POST", f"activeuser/messages/{two.slug}", {"body": "Hello"})
    alice.ok("POST", "activeuser/favorited", {"id": other["id"]})
    alice.get(f"folders/{other['id']}")
    return {
        "users/{slug}": alice.slug,
        "messages/{slug}": bob.slug,
        "folders/{id}": folder["id"],
        "files/{id}": file["id"],
    }


def filled(path: str, known: dict[str, str]) -> str:
    for place, value in known.items():
        path = path.replace(place, f"{place.partition('/')[0]}/{value}")
    assert "{" not in path
    return path


GETS = sorted(
    path
    for method, path in OPERATIONS
    if method == "get" and "/api/" in path and (method, path) != TAR
)


@pytest.mark.parametrize("path", GETS)
def test_an_answer_is_as_described(alice: Client, known: dict[str, str], path: str) -> None:
    answer, schema = alice.get(filled(path, known)), answer_schema("get", path)
    assert_fits(answer, schema, path)
    assert answer.get("results") != []
    required = set(resolved(schema)["required"])
    for name in required:
        with pytest.raises(AssertionError):
            assert_fits({key: answer[key] for key in answer if key != name}, schema, path)
        with pytest.raises(AssertionError):
            assert_fits(answer | {name: 1.5}, schema, path)


@pytest.mark.parametrize(
    ("method", "path", "params"),
    [
        ("put", "/api/v2/activeuser", {"description": "Me"}),
        ("post", "/api/v2/users/{slug}/folders", {"name": "More"}),
        ("put", "/api/v2/folders/{id}", {"name": "Other"}),
        ("put", "/api/v2/files/{id}", {"caption": "Other"}),
    ],
)
def test_the_answer_to_a_change_is_as_described(
    alice: Client, known: dict[str, str], method: str, path: str, params: JSON
) -> None:
    answer = alice.ok(method.upper(), filled(path, known), params)
    assert_fits(answer, answer_schema(method, path), path)
    body = OPERATIONS[method, path]["requestBody"]["content"]["application/x-www-form-urlencoded"]
    assert set(params) <= set(body["schema"]["properties"])


def test_uploads_tokens_and_refusals_are_as_described(alice: Client) -> None:
    assert_fits(alice.upload(), answer_schema("post", "/api/v2/folders/{id}/files"), "upload")
    folder = alice.folder()["id"]
    row = alice.send("PUT", f"folders/{folder}/files/a.txt", {"a": "b"}).json()
    assert_fits(row, answer_schema("put", "/api/v2/folders/{id}/files/{name}"), "put")
    for name, status in (("a.txt", 200), ("..", 400)):
        form = rawhttp.multipart(rawhttp.part("file", b"x", name))
        headers = alice.bearer() | {"Content-Type": rawhttp.MULTIPART}
        answer = alice.call("POST", f"folders/{folder}/batch", headers, form)
        assert answer.status == status
        batch = answer_schema("post", "/api/v2/folders/{id}/batch")
        assert_fits(answer.json(), batch if status == 200 else SCHEMAS["Error"], "batch")
    tus = alice.bearer() | {"Tus-Resumable": "1.0.0"}
    for size in ("0", "1"):
        begun = alice.call("POST", f"folders/{folder}/uploads", tus | {"Upload-Length": size})
        path = "/" + begun.headers["Location"].removeprefix(alice.base)
        assert_fits(alice.get(path), answer_schema("get", "/uploads/{secret}"), "upload")
    token = alice.ask_token(alice.grant(ALL)).json()
    assert_fits(token, answer_schema("post", "/oauth/token"), "token")
    assert_fits(alice.send("GET", "folders/none").json(), SCHEMAS["Error"], "error")


def test_a_required_field_is_refused_when_it_is_missing(
    alice: Client, known: dict[str, str]
) -> None:
    for (method, path), operation in OPERATIONS.items():
        content = operation.get("requestBody", {}).get("content", {})
        form = content.get("application/x-www-form-urlencoded", {}).get("schema", {})
        if form.get("required") and path.startswith("/api/"):
            refused = alice.send(method.upper(), filled(path, known), {})
            assert refused.status == 400
            name = form["required"][0]
            assert refused.json()["error_description"] == f"The field {name} is missing."


def test_the_service_serves_its_description_with_its_own_address(
    service: Service, alice: Client
) -> None:
    answer = alice.bare("GET", "/openapi.json")
    assert answer.json() == DOCUMENT | {"servers": [{"url": service.url.rstrip("/")}]}
