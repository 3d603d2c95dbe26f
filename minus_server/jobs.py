"""What a service does without being asked, in one process of those that serve a folder."""

import asyncio
import logging
import sqlite3
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from minus_server.errors import Refused
from minus_server.service import Service

EXPIRE_SECONDS = 3600
CHECKPOINT_SECONDS = 1
_LOG = logging.getLogger(__name__)


async def expire(service: Service) -> None:
    """Now and every hour, end galleries that nobody visits, uploads that do not go on."""
    while True:
        try:
            await asyncio.to_thread(service.galleries.expire)
            await asyncio.to_thread(service.resumables.expire)
        except (SQLAlchemyError, OSError, Refused) as error:  # the next hour will do
            _LOG.warning("What is old could not be removed: %s", error)
        await asyncio.sleep(EXPIRE_SECONDS)


async def checkpoint(service: Service, *, alone: bool) -> None:
    """Every second, take from the uploads what their commits would do now and then.

    alone   nobody else writes: without a write of ours there is nothing to do
    """
    while True:
        await asyncio.sleep(CHECKPOINT_SECONDS)
        with suppress(SQLAlchemyError, sqlite3.Error):  # a later commit does it then
            await asyncio.to_thread(service.catalog.checkpoint, alone=alone)
