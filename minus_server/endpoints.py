"""How an endpoint is declared, and how a request becomes a call of its handler.

The declarations are what `/openapi.json` is made from: a field that is not declared here is
not read, and one that is declared is checked by its parser before the handler runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from minus_server import names, parse
from minus_server.accounts import Caller
from minus_server.errors import BadRequest
from minus_server.repeats import Once, Replayed, holder
from minus_server.service import Service
from minus_server.wire import JSON, Wire, dumps

Handler = Callable[["Call"], JSON | None]


@dataclass(frozen=True)
class Field:
    """A parameter: its parser, its JSON type in the description, and what it is for."""

    parse: Callable[[str], Any]
    about: str
    required: bool = False
    kind: str = "string"


PAGE = Field(names.page, "number of the page, from 1", kind="integer")
NAMED = {
    "name": Field(names.text, "only rows of exactly this name"),
    "match": Field(names.glob, "only rows whose name fits: *, ?, [a-z], [!a-z]"),
}


@dataclass(frozen=True)
class Endpoint:
    """One row of the API: `path` below `/api/v2/`, the shape of its answer by name.

    again   makes the answer to a repeat, of what the first made; None: takes no Idempotency-Key
    """

    method: str
    path: str
    handler: Handler
    about: str
    answer: str | None = None  # None: 204
    fields: Mapping[str, Field] = field(default_factory=dict)
    again: "Callable[[Call, Sequence[str]], JSON] | None" = None

    @property
    def is_list(self) -> bool:
        return "page" in self.fields


@dataclass(frozen=True)
class Call:
    """A request as the handlers see it: who asks, for what, with which checked fields."""

    service: Service
    wire: Wire
    caller: Caller
    path: Mapping[str, str]
    fields: Mapping[str, Any]
    once: Once | None

    def changes(self) -> dict[str, Any]:
        """The fields that were sent, as the values to set."""
        return dict(self.fields)


def json_response(value: JSON | None, status: int = 200) -> Response:
    """An answer of the API: 204 without a body where there is nothing to say."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if value is None:
        return Response(status_code=204, headers=headers)
    return Response(dumps(value), status, headers, media_type="application/json")


def replayed(response: Response) -> Response:
    """An answer that a request with the same Idempotency-Key got before."""
    response.headers["Idempotency-Replayed"] = "true"
    return response


def check(fields: Mapping[str, Field], parameters: parse.Parameters) -> dict[str, Any]:
    """Run each declared field's parser on what came. Raises BadRequest where one is missing."""
    checked: dict[str, Any] = {}
    for name, declared in fields.items():
        if name in parameters:
            checked[name] = declared.parse(parameters[name])
        elif declared.required:
            raise BadRequest(f"The field {name} is missing.")
    return checked


def signed_in(endpoint: Endpoint) -> Callable[[Request], Any]:
    """Make the route function of an endpoint that needs a token."""

    async def answer(request: Request) -> Response:
        parameters = await parse.parameters(request)
        token = parse.need_token(request, parameters)
        service: Service = request.app.state.service

        def work() -> Response:
            caller = service.accounts.caller(token)
            request.scope["user_slug"] = caller.user.slug
            call = Call(
                service,
                request.app.state.wire,
                caller,
                request.path_params,
                check(endpoint.fields, parameters),
                parse.once(request, holder(caller.user)) if endpoint.again else None,
            )
            try:
                return json_response(endpoint.handler(call))
            except Replayed as first:
                if endpoint.again is None:
                    raise
                return replayed(json_response(endpoint.again(call, first.made)))

        return await run_in_threadpool(work)

    return answer
