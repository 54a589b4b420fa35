"""What stream_svc counts of watched boards."""

from mesh import metrics
from stream_svc import endings

WATCHERS = metrics.gauge("scoreboard_stream_watchers")
WEBSOCKETS = metrics.gauge("scoreboard_stream_websockets")
FRAMES = metrics.counter("scoreboard_stream_frames_total").child()
ENDINGS = metrics.counter("scoreboard_stream_endings_total")
HINTS = metrics.counter("scoreboard_stream_hints_total").child()
FEED_CONNECTED = metrics.gauge("scoreboard_stream_feed_connected").child()
READ_FAILURES = metrics.counter("scoreboard_stream_read_failures_total").child()
PUSH_DELAY = metrics.histogram("scoreboard_stream_push_delay_seconds").child()
for _ending in endings.ALL:  # from the start, at 0: a counter that appears with its first event shows no increase
    ENDINGS.child(_ending.name)
