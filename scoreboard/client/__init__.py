"""The Python client: signs in, sends scores that count once, reads and watches boards.

    async with Client("127.0.0.1:8080") as client:
        await client.login("ada", "correct horse battery staple")
        update = await client.score("win-round")
        async for board in client.watch(limit=3):
            print([(row.username, row.score) for row in board.leaderboard])

`SyncClient` is the same without asyncio. docs/clients.md is the guide, examples/ has a program for everything here.
"""

from scoreboard.client.aio import Client
from scoreboard.client.answers import Board, Me, Period, Place, Profile, Row, Snapshot, Status, Update
from scoreboard.client.blocking import SyncClient
from scoreboard.client.errors import ScoreboardError, to_error
from scoreboard.client.steps import Session

__all__ = [
    "Board",
    "Client",
    "Me",
    "Period",
    "Place",
    "Profile",
    "Row",
    "ScoreboardError",
    "Session",
    "Snapshot",
    "Status",
    "SyncClient",
    "Update",
    "to_error",
]
