"""A board in a terminal: the top of it as a table, with what players have just gained lit up."""

import time

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scoreboard.cli.plain import printable
from scoreboard.client import Snapshot

LIT_S = 1.5  # how long a player's gain stays lit: long enough to be seen, short enough to be news
WIDTH = 76
FRAME_LINES = 7  # title, head, their lines, caption, and the line of the cursor


class LiveBoard:
    """The newest snapshot. `take` is called by the watcher alone, `render` by the screen's thread, which only reads."""

    def __init__(self) -> None:
        self.snapshot = Snapshot((), "", "", 0)
        self._gains: dict[str, tuple[int, float]] = {}  # user id: points, time.monotonic()

    def take(self, snapshot: Snapshot) -> None:
        """Shows this board from now on."""
        before = {row.user_id: row.score for row in self.snapshot.leaderboard}
        gains = {
            row.user_id: (row.score - before[row.user_id], time.monotonic())
            for row in snapshot.leaderboard
            if row.user_id in before and row.score > before[row.user_id] and snapshot.period == self.snapshot.period
        }
        self._gains = {**self._gains, **gains}
        self.snapshot = snapshot

    def render(self, title: str, caption: str = "", me: str = "", lines: int | None = None) -> Table:
        """Draws it as it is now. me: the user id whose row is marked; lines: what the screen has, None for no end."""
        snapshot, gains, now = self.snapshot, self._gains, time.monotonic()
        table = Table(box=box.SIMPLE_HEAD, title=title, caption=caption or None, min_width=WIDTH)
        table.add_column("#", justify="right", style="dim", min_width=3)
        table.add_column("player", width=36, no_wrap=True)
        table.add_column("points", justify="right", width=18)
        table.add_column("", width=6)
        for row in snapshot.leaderboard[: None if lines is None else max(1, lines - FRAME_LINES)]:
            points, at = gains.get(row.user_id, (0, 0.0))
            is_lit = now - at < LIT_S
            style = "bold green" if is_lit else "bold" if row.user_id == me else None
            mark = f"+{points}" if is_lit else "you" if row.user_id == me else ""
            table.add_row(str(row.rank), plain(row.username), f"{row.score:,}", mark, style=style)
        return table


def print_board(snapshot: Snapshot, caption: str = "", me: str = "") -> None:
    """Prints a board as it is, once. me: as LiveBoard.render."""
    picture = LiveBoard()
    picture.take(snapshot)
    Console().print(picture.render(f"{snapshot.board} · {snapshot.period}", caption, me))


def plain(username: str) -> Text:
    """Returns a name as it is: whatever a player calls himself is no markup and moves no cursor."""
    return Text(printable(username))
