"""Asks AdminService one thing, for the commands that do no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from scoreboard.cli.operator import open_admin

if TYPE_CHECKING:
    import grpc

    from scoreboard.v1.admin_pb2_grpc import AdminServiceAsyncStub

CALL_TIMEOUT_S = 15.0  # the service's own for a job that waits its turn is 7 s, so that it answers first

Request = TypeVar("Request")
Response = TypeVar("Response")

Reason = Annotated[str, typer.Option(envvar="SCOREBOARD_REASON", help="Why, for the admin log: 1 to 500 characters.")]


def ask(
    data: Path,
    method: Callable[[AdminServiceAsyncStub], grpc.aio.UnaryUnaryMultiCallable[Request, Response]],
    request: Request,
) -> Response:
    """Return what a method of AdminService answers. Raises Trouble."""

    async def call() -> Response:
        async with open_admin(data) as (stub, metadata):
            return await method(stub)(request, metadata=metadata, timeout=CALL_TIMEOUT_S)

    return asyncio.run(call())
