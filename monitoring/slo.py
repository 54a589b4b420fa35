"""What users are promised, as figures, and the alerts for a promise that is being broken too fast.

Of each promise a share of events may be bad: its budget, for 30 days. An alert looks how many times faster than that
the budget burns, over a long window, so that a moment of trouble is none, and over a short one, so that it ends when
the trouble does (Google's SRE workbook, chapter 5). rules/slo.yml is made of this by `python -m monitoring`.
"""

from __future__ import annotations

from dataclasses import dataclass

FAULTS = "BROKER_AWAY|QUEUE_FULL|SERVICE_AWAY|LEADERBOARD_UNAVAILABLE|DEADLINE_EXCEEDED|INTERNAL"
SHOWN_WITHIN_S = 0.5
PUSHED_WITHIN_S = 0.25


@dataclass(frozen=True)
class Slo:
    """A promise. goal: the share of good events; bad, all: queries of events a second, `$w` for their window."""

    name: str
    promise: str
    goal: float
    bad: str
    all: str
    runbook: str

    @property
    def budget(self) -> float:
        """The share of events that may be bad."""
        return round(1 - self.goal, 6)


@dataclass(frozen=True)
class Burn:
    """When an alert fires: when the budget burns `speed` times too fast in both windows, or in both of another pair."""

    suffix: str
    severity: str
    pairs: tuple[tuple[float, str, str], ...]  # speed, long window, short window


def _calls(rpcs: str) -> tuple[str, str]:
    bad = f'sum(rate(scoreboard_rpc_refusals_total{{rpc=~"{rpcs}",reason=~"{FAULTS}"}}[$w])) or vector(0)'
    return bad, f'sum(rate(scoreboard_rpc_duration_seconds_count{{rpc=~"{rpcs}"}}[$w]))'


def _late(bucket: str, all_: str, within_s: float) -> tuple[str, str]:
    total = f"sum(rate({all_}_count[$w]))"
    return f'{total} - sum(rate({bucket}_bucket{{le="{within_s:g}"}}[$w]))', total


_WORKER = "scoreboard_worker"

SLOS = (
    Slo(
        "updates",
        "Of a thousand updates sent, 999 are answered without a fault of ours.",
        0.999,
        *_calls("ScoreService/UpdateScores?"),
        "answers-fail",
    ),
    Slo(
        "reads",
        "Of a thousand reads of boards, 999 are answered without a fault of ours.",
        0.999,
        *_calls("LeaderboardService/.+|GET /api/scores/leaderboard"),
        "answers-fail",
    ),
    Slo(
        "sign_ins",
        "Of a thousand sign-ups, sign-ins and renewals, 999 are answered without a fault of ours.",
        0.999,
        *_calls("AuthService/.+"),
        "answers-fail",
    ),
    Slo(
        "shown",
        f"Of a hundred updates that count, 99 are on the boards within {SHOWN_WITHIN_S:g} s of their acceptance.",
        0.99,
        *_late(f"{_WORKER}_board_delay_seconds", f"{_WORKER}_ledger_delay_seconds", SHOWN_WITHIN_S),
        "boards-late",
    ),
    Slo(
        "pushed",
        f"Of a hundred changes of watched boards, 99 are pushed within {PUSHED_WITHIN_S:g} s of their acceptance.",
        0.99,
        *_late("scoreboard_stream_push_delay_seconds", "scoreboard_stream_push_delay_seconds", PUSHED_WITHIN_S),
        "boards-late",
    ),
)

BURNS = (
    # 2 % of the month's budget in an hour, 5 % in six.
    Burn("Fast", "page", ((14.4, "1h", "5m"), (6, "6h", "30m"))),
    # 10 % in a day or in three.
    Burn("Slowly", "ticket", ((3, "1d", "2h"), (1, "3d", "6h"))),
)
WINDOWS = tuple(sorted({window for burn in BURNS for _, *pair in burn.pairs for window in pair}))


def rules() -> dict[str, object]:
    """Returns the content of rules/slo.yml."""
    groups = [
        {"name": f"slo {slo.name}", "rules": [*_recorded(slo), *(_alert(slo, burn) for burn in BURNS)]} for slo in SLOS
    ]
    return {"groups": groups}


def record(slo: Slo, window: str) -> str:
    """Returns the name of the series that says how many of the window's events were bad."""
    return f"slo:{slo.name}:bad_ratio_{window}"


def alert_name(slo: Slo, burn: Burn) -> str:
    """Returns the name of an alert: SignInsBurnFast."""
    return "".join(word.capitalize() for word in slo.name.split("_")) + "Burn" + burn.suffix


def _recorded(slo: Slo) -> list[dict[str, object]]:
    return [
        {"record": record(slo, window), "expr": f"({slo.bad}) / ({slo.all})".replace("$w", window)}
        for window in WINDOWS
    ]


def _alert(slo: Slo, burn: Burn) -> dict[str, object]:
    pairs = (
        f"({record(slo, long)} > {speed * slo.budget:.6g} and {record(slo, short)} > {speed * slo.budget:.6g})"
        for speed, long, short in burn.pairs
    )
    words = "fast enough to be gone in days" if burn.suffix == "Fast" else "faster than it comes back"
    return {
        "alert": alert_name(slo, burn),
        "expr": " or ".join(pairs),
        "labels": {"severity": burn.severity, "slo": slo.name},
        "annotations": {
            "summary": f"A promise is being broken, its budget burns {words}: {slo.promise}",
            "runbook_url": f"docs/runbooks/{slo.runbook}.md",
        },
    }
