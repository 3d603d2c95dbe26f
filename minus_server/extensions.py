"""`GET /api/v2/`: what this service knows beside API v2, with its limits."""

from starlette.requests import Request
from starlette.responses import Response

from minus_server import __version__, names, tus
from minus_server.batches import BATCH_BYTES, BATCH_FILE_BYTES, BATCH_FILES
from minus_server.endpoints import json_response
from minus_server.repeats import REPEAT_SECONDS
from minus_server.wire import JSON

DOCUMENT: JSON = {
    "name": "minus",
    "version": __version__,
    "extensions": {
        "lists": {"per_page": names.MAX_PER_PAGE},
        "raw": {},
        "batch": {"files": BATCH_FILES, "file_bytes": BATCH_FILE_BYTES, "bytes": BATCH_BYTES},
        "tar": {"files": names.MAX_IDS},
        "tus": {"version": tus.VERSION},
        "idempotency": {"seconds": REPEAT_SECONDS},
        "sums": {},
    },
}


async def describe(_: Request) -> Response:
    """GET /api/v2/, which asks for no token."""
    return json_response(DOCUMENT)
