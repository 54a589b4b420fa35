"""What the demo shows while it plays: the top of the board, who has just scored, and how the updates fare."""

import time
from collections.abc import Mapping

from rich import box
from rich.table import Table

from scoreboard.demo import Tally, percentile
from scoreboard.v1 import stream_pb2

LIT_S = 1.5  # how long a player's gain stays lit: long enough to be seen, short enough to be news
RECENT = 500  # updates that the live latencies are of; the summary takes all


class Picture:
    """The live table. `take` is called by the watcher alone, `render` by the screen's thread, which only reads."""

    def __init__(self, tally: Tally, players: int, ends_at: float) -> None:
        """`ends_at`: time.monotonic() of the game's end."""
        self.ending = ""  # in place of the countdown: the game stops early, or is over
        self._tally = tally
        self._players = players
        self._ends_at = ends_at
        self._frame = stream_pb2.LeaderboardUpdate()
        self._gains: dict[str, tuple[float, float]] = {}  # user id: points, time.monotonic()

    def take(self, frame: stream_pb2.LeaderboardUpdate) -> None:
        """Shows this board from now on."""
        before = {row.user_id: row.score for row in self._frame.leaderboard}
        gains = {
            row.user_id: (row.score - before[row.user_id], time.monotonic())
            for row in frame.leaderboard
            if row.user_id in before and row.score > before[row.user_id]
        }
        self._gains = {**self._gains, **gains}
        self._frame = frame

    def render(self) -> Table:
        """Draws it as it is now."""
        frame, gains, now = self._frame, self._gains, time.monotonic()
        table = Table(box=box.SIMPLE_HEAD, title=self._title(frame, now), caption=self._caption(), min_width=76)
        table.add_column("#", justify="right", style="dim", width=3)
        table.add_column("player", width=36, no_wrap=True)
        table.add_column("points", justify="right", width=18)
        table.add_column("", width=6)
        for row in frame.leaderboard:
            points, at = gains.get(row.user_id, (0.0, 0.0))
            is_lit = now - at < LIT_S
            gain = f"+{points:.0f}" if is_lit else ""
            table.add_row(
                str(row.rank), row.username, f"{row.score:,.0f}", gain, style="bold green" if is_lit else None
            )
        return table

    def _title(self, frame: stream_pb2.LeaderboardUpdate, now: float) -> str:
        left_s = max(0.0, self._ends_at - now)
        clock = self.ending or f"{left_s:.0f} s left"
        board = f"board {frame.board} · " if frame.board else ""
        return f"{board}{self._players} players · {clock}"

    def _caption(self) -> str:
        recent = sorted(self._tally.latencies_ms[-RECENT:])
        shown = {name: self._tally.counts[name] for name in ("ok", "refused", "failed", "unknown")}
        return counts_line({**shown, "p50_ms": percentile(recent, 0.50), "p99_ms": percentile(recent, 0.99)})


def counts_line(summary: Mapping[str, float]) -> str:
    """Returns a tally's summary as one line for people."""
    counts = " · ".join(f"{name} {summary[name]:.0f}" for name in ("ok", "refused", "failed", "unknown"))
    return f"{counts} · p50 {summary['p50_ms']:.1f} ms · p99 {summary['p99_ms']:.1f} ms"
