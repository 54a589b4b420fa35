"""Every metric of the mesh: the one place where a name, its labels and its buckets stand.

Names alone: what they count is the business of the modules that use them. A test compares the table with what each
process of a running mesh exports, both ways; `python -m monitoring` makes docs/metrics.md of it.
Label values come from small fixed sets: never a user, an address, an update.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """As Prometheus has them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Described:
    """One metric. processes: who exports it; bounds: of a histogram's buckets, in the unit of its name."""

    name: str
    kind: Kind
    help: str
    processes: tuple[str, ...]
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


ALL = ("auth_svc", "score_svc", "worker", "leaderboard_svc", "stream_svc", "admin_svc")
PUBLISHERS = ("auth_svc", "score_svc", "worker", "admin_svc")
READERS = ("leaderboard_svc", "stream_svc", "admin_svc")

#: What a value of each label looks like.
LABELS: Mapping[str, str] = {
    "rpc": r"[A-Za-z]+Service/[A-Za-z]+|(GET|POST) /[a-z0-9/.-]+",
    "code": r"[A-Z_]+|[345][0-9]{2}",
    "reason": r"[A-Z_]*",
    "pool": r"[a-z]+",
    "state": r"idle|busy",
    "round": r"[a-z ]+",
    "connection": r"[a-z_ ]+",
    "queue": r"scoreboard\.[a-z]+",
    "failure": r"away|full|unroutable",
    "result": r"ok|failed",
    "what": r"[a-z ]+",
    "source": r"redis|postgres",
    "claim": r"[a-z]+",
    "status": r"applied|refused|pending|parked",
    "outcome": r"applied|refused",
    "cause": r"[a-z_]+",
    "ending": r"[A-Z0-9_]+",
    "generation": r"[012]",
    "region": r"[a-z][a-z0-9-]*",
}

#: From a read at hand to a call that met its deadline. 0.25 is what an update and a read may take (monitoring/slo.py).
CALL_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: From an idle mesh's 20 ms to what waits while Postgres is away.
WAY_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
SHORT_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


def _counter(name: str, help_: str, processes: tuple[str, ...], *labels: str) -> Described:
    return Described(name, Kind.COUNTER, help_, processes, labels)


def _gauge(name: str, help_: str, processes: tuple[str, ...], *labels: str) -> Described:
    return Described(name, Kind.GAUGE, help_, processes, labels)


def _histogram(name: str, help_: str, processes: tuple[str, ...], bounds: tuple[float, ...], *labels: str) -> Described:
    return Described(name, Kind.HISTOGRAM, help_, processes, labels, bounds)


def _by_name(metrics: Iterable[Described]) -> Mapping[str, Described]:
    return {metric.name: metric for metric in metrics}


_SCORE, _WORKER, _STREAM, _AUTH = ("score_svc",), ("worker",), ("stream_svc",), ("auth_svc",)

#: What our modules count.
TABLE: Mapping[str, Described] = _by_name(
    (
        # Calls: rate, errors, duration. A call that is answered costs one observation.
        _histogram(
            "scoreboard_rpc_duration_seconds", "Calls by their duration, refused ones too.", ALL, CALL_BOUNDS_S, "rpc"
        ),
        _counter(
            "scoreboard_rpc_refusals_total",
            "Calls and streams that ended with a refusal.",
            ALL,
            "rpc",
            "code",
            "reason",
        ),
        _gauge("scoreboard_rpc_in_flight", "Unary calls being answered.", ALL),
        _counter("scoreboard_rpc_streams_total", "Streams that began.", ALL, "rpc"),
        _gauge("scoreboard_rpc_open_streams", "Streams that are open.", ALL, "rpc"),
        _gauge("scoreboard_gateway_connections", "Connections that the gateway holds open to the process.", ALL),
        # The process and what it stands on: use, saturation, errors.
        _gauge("scoreboard_ready", "1 while the process is ready to serve.", ALL),
        _histogram(
            "scoreboard_loop_delay_seconds",
            "How late the event loop ran what was due, five looks a second.",
            ALL,
            SHORT_BOUNDS_S,
        ),
        _gauge("scoreboard_postgres_connections", "Connections of a pool to Postgres.", ALL, "pool", "state"),
        _gauge("scoreboard_postgres_connections_max", "Bound of a pool's connections to Postgres.", ALL, "pool"),
        _gauge("scoreboard_redis_connections", "Connections of a pool to Redis.", ALL, "pool", "state"),
        _gauge("scoreboard_redis_connections_max", "Bound of a pool's connections to Redis.", ALL, "pool"),
        _counter("scoreboard_redis_failures_total", "Calls to Redis that failed, each followed by a pause.", ALL),
        _counter(
            "scoreboard_region_failures_total",
            "Calls to another region that failed, each followed by a pause.",
            ("leaderboard_svc",),
            "region",
        ),
        _counter("scoreboard_jwks_fetches_total", "Looks for the keys that tokens are verified by.", ALL, "result"),
        _histogram(
            "scoreboard_round_duration_seconds",
            "Round trips that answered all who asked at the same time.",
            (*_SCORE, *READERS),
            SHORT_BOUNDS_S,
            "round",
        ),
        _counter("scoreboard_round_questions_total", "Questions in those round trips.", (*_SCORE, *READERS), "round"),
        _gauge(
            "scoreboard_round_waiting", "Questions that wait for the next round trip.", (*_SCORE, *READERS), "round"
        ),
        _gauge(
            "scoreboard_fresh_age_seconds",
            "Age of what is kept at hand of Postgres.",
            (*_SCORE, *_WORKER, *READERS),
            "what",
        ),
        _gauge("scoreboard_broker_connected", "1 while the connection to RabbitMQ stands.", PUBLISHERS, "connection"),
        _gauge(
            "scoreboard_broker_blocked",
            "1 while RabbitMQ takes no messages from the connection.",
            PUBLISHERS,
            "connection",
        ),
        _histogram(
            "scoreboard_broker_confirm_duration_seconds",
            "Messages by the time until RabbitMQ had them safe.",
            PUBLISHERS,
            SHORT_BOUNDS_S,
        ),
        _counter("scoreboard_broker_failures_total", "Messages that RabbitMQ did not confirm.", PUBLISHERS, "failure"),
        _gauge(
            "scoreboard_broker_unconfirmed_messages", "Messages on their way to RabbitMQ.", PUBLISHERS, "connection"
        ),
        _gauge("scoreboard_broker_received_messages", "Messages received and not begun.", PUBLISHERS, "queue"),
        # Updates, at the door.
        _counter(
            "scoreboard_score_answers_total",
            "Updates by what their senders were told, repeats too.",
            _SCORE,
            "status",
            "reason",
        ),
        _counter("scoreboard_score_accepted_total", "Updates that the queue has safe.", _SCORE),
        _counter(
            "scoreboard_score_claims_total", "Nonces by what their claim met; `seen` is a repeat.", _SCORE, "claim"
        ),
        _counter(
            "scoreboard_score_healed_total",
            "Results that came from the ledger, their reply being late or lost.",
            _SCORE,
        ),
        _gauge("scoreboard_score_on_way", "Updates between acceptance and result.", _SCORE),
        # Updates, in the worker.
        _counter(
            "scoreboard_worker_ledger_rows_total", "Updates that entered the ledger.", _WORKER, "outcome", "reason"
        ),
        _counter("scoreboard_worker_duplicates_total", "Updates that the ledger had already.", _WORKER),
        _histogram(
            "scoreboard_worker_ledger_delay_seconds",
            "Updates by the time from acceptance to their ledger row.",
            _WORKER,
            WAY_BOUNDS_S,
        ),
        _histogram(
            "scoreboard_worker_board_delay_seconds",
            "The same until the boards in Redis had them.",
            _WORKER,
            WAY_BOUNDS_S,
        ),
        _histogram(
            "scoreboard_worker_batch_duration_seconds",
            "Batches from their jobs to their answers.",
            _WORKER,
            CALL_BOUNDS_S,
        ),
        _counter(
            "scoreboard_worker_redelivered_total", "Messages that came back from a worker that had them.", _WORKER
        ),
        _counter("scoreboard_worker_retries_total", "Jobs that failed and were sent to a delay.", _WORKER),
        _counter("scoreboard_worker_dead_letters_total", "Jobs that were given up.", _WORKER, "reason"),
        _gauge("scoreboard_worker_database_away", "1 while jobs wait for Postgres.", _WORKER),
        _gauge("scoreboard_worker_paused", "1 while an operator lets the worker rest.", _WORKER),
        _gauge("scoreboard_worker_boards_settled", "1 while all open boards are readable, or Redis is away.", _WORKER),
        _gauge(
            "scoreboard_worker_missed_entries",
            "Entries that Redis did not take and that are still to be written.",
            _WORKER,
        ),
        _counter("scoreboard_worker_rebuilds_total", "Boards that were built anew in Redis.", _WORKER),
        _counter("scoreboard_worker_distrusts_total", "Times that boards in Redis were found wrong.", _WORKER, "cause"),
        _counter("scoreboard_worker_reconciled_entries_total", "Entries compared with Redis.", _WORKER),
        _counter("scoreboard_worker_reconcile_healed_total", "Entries that this comparison wrote again.", _WORKER),
        _gauge("scoreboard_worker_unplaced_rows", "Ledger rows without a partition of their own.", _WORKER),
        # Reads and pushes.
        _counter("scoreboard_board_reads_total", "Reads of boards by who answered.", READERS, "source"),
        _gauge("scoreboard_stream_watchers", "Boards watched, over all streams and WebSockets.", _STREAM),
        _gauge("scoreboard_stream_websockets", "WebSockets that are open.", _STREAM),
        _counter("scoreboard_stream_frames_total", "Frames taken to be written to watchers.", _STREAM),
        _counter("scoreboard_stream_endings_total", "WebSockets that we ended.", _STREAM, "ending"),
        _counter("scoreboard_stream_hints_total", "Hints that a board had changed.", _STREAM),
        _gauge("scoreboard_stream_feed_connected", "1 while hints can come.", _STREAM),
        _counter("scoreboard_stream_read_failures_total", "Reads of watched boards that failed.", _STREAM),
        _histogram(
            "scoreboard_stream_push_delay_seconds",
            "Pushes of changed boards by the time from the acceptance of the oldest update that is new on them.",
            _STREAM,
            WAY_BOUNDS_S,
        ),
        # Passwords.
        _gauge("scoreboard_auth_hashes", "Password hashes in hand and waiting.", _AUTH),
        _gauge("scoreboard_auth_hashes_max", "Bound of these; more are refused.", _AUTH),
        _histogram(
            "scoreboard_auth_hash_duration_seconds",
            "Password hashes by their duration, waiting included.",
            _AUTH,
            CALL_BOUNDS_S,
        ),
    )
)

#: What prometheus-client counts of the process and of Python's collector.
LIBRARY: Mapping[str, Described] = _by_name(
    (
        _gauge("process_virtual_memory_bytes", "Address space.", ALL),
        _gauge("process_resident_memory_bytes", "Memory in use.", ALL),
        _gauge("process_start_time_seconds", "When the process began, Unix time.", ALL),
        _counter("process_cpu_seconds_total", "CPU time.", ALL),
        _gauge("process_open_fds", "Open files and sockets.", ALL),
        _gauge("process_max_fds", "Bound of these.", ALL),
        _counter("python_gc_objects_collected_total", "Objects that the collector freed.", ALL, "generation"),
        _counter("python_gc_objects_uncollectable_total", "Objects that it could not free.", ALL, "generation"),
        _counter("python_gc_collections_total", "Its runs.", ALL, "generation"),
    )
)
