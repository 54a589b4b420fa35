"""What the demo shows while it plays: the top of the board, who has just scored, and how the updates fare."""

import time
from collections.abc import Mapping

from rich.table import Table

from scoreboard.cli.live_board import LiveBoard
from scoreboard.client import Snapshot
from scoreboard.demo import Tally, percentile

RECENT = 500  # updates that the live latencies are of; the summary takes all


class Picture:
    """The live table. `take` is called by the watcher alone, `render` by the screen's thread, which only reads."""

    def __init__(self, tally: Tally, players: int, ends_at: float) -> None:
        """`ends_at`: time.monotonic() of the game's end."""
        self.ending = ""  # in place of the countdown: the game stops early, or is over
        self._board = LiveBoard()
        self._tally = tally
        self._players = players
        self._ends_at = ends_at

    def take(self, snapshot: Snapshot) -> None:
        """Shows this board from now on."""
        self._board.take(snapshot)

    def render(self) -> Table:
        """Draws it as it is now."""
        left_s = max(0.0, self._ends_at - time.monotonic())
        clock = self.ending or f"{left_s:.0f} s left"
        board = f"board {self._board.snapshot.board} · " if self._board.snapshot.board else ""
        return self._board.render(f"{board}{self._players} players · {clock}", self._caption())

    def _caption(self) -> str:
        recent = sorted(self._tally.latencies_ms[-RECENT:])
        shown = {name: self._tally.counts[name] for name in ("ok", "refused", "failed", "unknown")}
        return counts_line({**shown, "p50_ms": percentile(recent, 0.50), "p99_ms": percentile(recent, 0.99)})


def counts_line(summary: Mapping[str, float]) -> str:
    """Returns a tally's summary as one line for people."""
    counts = " · ".join(f"{name} {summary[name]:.0f}" for name in ("ok", "refused", "failed", "unknown"))
    return f"{counts} · p50 {summary['p50_ms']:.1f} ms · p99 {summary['p99_ms']:.1f} ms"
