"""Keeps a session in a file of one's own, and goes on with it: `python examples/keep_session.py [GATEWAY]`.

Prints, for example:

    u_3f9a has played once
    u_3f9a has played twice
    logged out: nothing is kept
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from scoreboard.client import Client, Session


def keep(file: Path, session: Session | None) -> None:
    """Replaces what was kept: of each session only the newest tokens are good."""
    if session is None:
        file.unlink(missing_ok=True)
        return
    part = file.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(session.SerializeToString())
    part.replace(file)


async def main(gateway: str) -> None:
    """Plays, as if the program ended and were started again."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "session"
        async with Client(gateway, on_session=lambda session: keep(file, session)) as client:
            await client.guest()
            await client.score("collect-coin")
            print(f"{client.user_id} has played once")

        async with Client(gateway, on_session=lambda session: keep(file, session)) as client:
            client.resume(Session.FromString(file.read_bytes()))
            await client.score("collect-coin")
            print(f"{client.session.user_id} has played twice")
            await client.refresh()  # happens by itself when the tokens are over
            await client.logout()
        print("kept" if file.exists() else "logged out: nothing is kept")


if __name__ == "__main__":
    asyncio.run(main((sys.argv[1:] or ["127.0.0.1:8080"])[0]))
