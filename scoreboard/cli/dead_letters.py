"""`scoreboard dead-letters`: the jobs that were given up: why, whether a replay helps, and the replay."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from scoreboard.cli.ask import Reason, ask
from scoreboard.cli.options import DEFAULT_DATA, AsJson, Data
from scoreboard.cli.owner import open_postgres
from scoreboard.cli.plain import at, print_json, printable
from scoreboard.local.trouble import Trouble
from scoreboard.v1 import admin_pb2

if TYPE_CHECKING:
    from board.dead_letters import DeadLetter

IDS_MAX = 1_000  # in one call
LIST_CURE = "List them: scoreboard dead-letters list."

#: What each reason means, and when a replay helps: docs/jobs.md has the same. FAILED_ is followed by the error.
REASONS = {
    "FAILED_": ("the job failed alone, with that error", "once the cause is gone"),
    "SCORE_OUT_OF_RANGE": ("the score would leave ±2⁵³", "no"),
    "TOO_OLD": ("its part of the ledger is archived, so that nobody can tell whether it counted", "no"),
    "UNKNOWN_KIND": ("made by a newer version", "after the upgrade"),
    "MALFORMED": ("the message is no job; the bytes are kept", "no"),
    "UNDECODABLE": ("the message is no job; the bytes are kept", "no"),
    "DELIVERED_TOO_OFTEN": ("each worker that took it ended", "once the cause is gone"),
    "DELIVERY_LIMIT": ("each worker that took it ended", "once the cause is gone"),
}

dead_letters = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Jobs that were given up: list, show, replay."
)


@dead_letters.callback()
def _dead_letters() -> None:
    """Jobs that were given up: list, show, replay."""


@dead_letters.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=1_000, envvar="SCOREBOARD_LIMIT", help="At most so many.")] = 100,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """List the jobs that were given up, the oldest first."""
    found = ask(data, lambda stub: stub.ListDeadLetters, admin_pb2.ListDeadLettersRequest(limit=limit))
    if as_json:
        print_json(found)
        return
    if not found.total:
        print("There are no dead letters.")
        return
    for letter in found.dead_letters:
        what = letter.action_id or letter.kind or "no job"
        print(
            f"{letter.update_id}  {at(letter.first_failed_at)}  {what} of {letter.user_id or 'nobody'}: {letter.reason}"
        )
    table = Table("reason", "it means", "a replay helps")
    for reason in sorted({letter.reason for letter in found.dead_letters}):
        table.add_row(reason, *explain_reason(reason))
    Console().print(table)
    print(f"{len(found.dead_letters)} of {found.total}")


@dead_letters.command()
def show(
    update: Annotated[UUID, typer.Argument(metavar="ID", help="The dead letter's id.")],
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Show a dead letter with its job, decoded."""
    letter = asyncio.run(_find(data, update))
    meaning, helps = explain_reason(letter.reason)
    members: dict[str, Any] = {
        "update_id": letter.update_id,
        "reason": letter.reason,
        "meaning": meaning,
        "replay_helps": helps,
        "attempts": letter.attempts,
        "first_failed_at": letter.first_failed_at,
        "job": decode(letter.job),
    }
    if as_json:
        print_json(members)
        return
    job = members.pop("job")
    for name, value in (members | {f"job.{key}": value for key, value in job.items()}).items():
        print(f"{name:<16}  {printable(value)}")


@dead_letters.command()
def replay(
    reason: Reason,
    ids: Annotated[list[UUID] | None, typer.Argument(metavar="[ID]...", help="These.")] = None,
    all_: Annotated[bool, typer.Option("--all", envvar="SCOREBOARD_ALL", help="All that there are.")] = False,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Queue dead letters again; one that counted meanwhile changes nothing. Exit 1 when one was not queued."""
    if bool(ids) == all_:
        raise typer.BadParameter("give the ids, or --all")
    done = admin_pb2.ReplayDeadLettersResponse()
    chunks = [(ids or [])[start : start + IDS_MAX] for start in range(0, len(ids or []), IDS_MAX)] or [[]]
    for chunk in chunks:
        request = admin_pb2.ReplayDeadLettersRequest(update_ids=map(str, chunk), all=all_, reason=reason)
        part = ask(data, lambda stub: stub.ReplayDeadLetters, request)
        done.replayed += part.replayed
        done.refused.extend(part.refused)
    if as_json:
        print_json(done)
    else:
        print(f"{done.replayed} queued again")
        print("".join(f"{one}\n" for one in done.refused), end="")
    raise typer.Exit(1 if done.refused else 0)


def explain_reason(reason: str) -> tuple[str, str]:
    """Return what the reason of a dead letter means, and when a replay helps."""
    key = "FAILED_" if reason.startswith("FAILED_") else reason
    return REASONS.get(key, ("the broker moved it without saying why", "perhaps"))


def decode(job: bytes) -> dict[str, Any]:
    """Return a job's fields by name, ids as UUIDs and times as instants; of bytes that are no job, these in hex."""
    from google.protobuf.message import DecodeError

    from board.instant import from_us
    from board.job_pb2 import Job

    try:
        read = Job.FromString(job)
    except DecodeError:
        return {"bytes": job.hex()}
    fields = {field.name: value for field, value in read.ListFields()}
    for name in ("update_id", "reverses"):
        if isinstance(value := fields.get(name), bytes):
            fields[name] = UUID(bytes=value) if len(value) == 16 else value.hex()
    if 0 < read.accepted_at_us < 16**13:
        fields["accepted_at"] = from_us(fields.pop("accepted_at_us"))
    return fields


async def _find(data: Path, update_id: UUID) -> DeadLetter:
    from board.dead_letters import find_dead_letters

    async with open_postgres(data) as pool:
        letter = (await find_dead_letters(pool, [update_id])).get(update_id)
    if letter is None:
        raise Trouble(f"There is no dead letter {update_id}.", LIST_CURE)
    return letter
