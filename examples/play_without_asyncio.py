"""The same without asyncio; threads may share the client: `python examples/play_without_asyncio.py [GATEWAY]`.

Prints, for example:

    bo-91d0 has 51
    behind ada-c3f1, ahead of cleo-0b1c
    from place 2 with 51 to place 2 with 52
"""

import secrets
import sys
import threading
from contextlib import closing

from scoreboard.client import SyncClient


def main(gateway: str) -> None:
    """Plays, and watches the own place move."""
    with SyncClient(gateway) as client:
        name = f"bo-{secrets.token_hex(2)}"
        client.register(name, "correct horse battery staple")
        client.score("win-round")
        print(f"{name} has {client.score('collect-coin').new_score}")

        place = client.rank()
        near = client.around(client.user_id, limit=1).leaderboard
        before = [row.username for row in near if row.rank < place.rank]
        after = [row.username for row in near if row.rank > place.rank]
        print(f"behind {' and '.join(before) or 'nobody'}, ahead of {' and '.join(after) or 'nobody'}")

        with closing(client.watch(1, me=True)) as boards:
            first = next(boards).me
            threading.Thread(target=client.score, args=("collect-coin",)).start()
            later = next(board.me for board in boards if board.me != first)
        if first and later:
            print(f"from place {first.rank} with {first.score} to place {later.rank} with {later.score}")


if __name__ == "__main__":
    main((sys.argv[1:] or ["127.0.0.1:8080"])[0])
