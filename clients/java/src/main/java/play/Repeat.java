package play;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Deadline;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/** Repeats calls that are safe to repeat. */
final class Repeat {
    private static final long WAIT_FROM_MS = 200;
    private static final long WAIT_MAX_MS = 2_000;

    private Repeat() {}

    /** Makes a call until it is answered, refused, or the deadline is over. Between tries it waits as long as the server
     * asks for, and then at random up to a bound that doubles, so that clients do not come all at once.
     */
    static <T> T until(Deadline deadline, Supplier<T> call) throws InterruptedException {
        for (long bound = WAIT_FROM_MS; ; bound = Math.min(2 * bound, WAIT_MAX_MS)) {
            try {
                return call.get();
            } catch (StatusRuntimeException e) {
                long wait = delayMs(e) + ThreadLocalRandom.current().nextLong(bound);
                if (!passes(e) || deadline.timeRemaining(TimeUnit.MILLISECONDS) <= wait) {
                    throw e;
                }
                Play.say("repeat", "reason", reason(e), "message", message(e));
                Thread.sleep(wait);
            }
        }
    }

    /** Stands for an answer that is none yet: the update is accepted and durable, but not counted so far. */
    static StatusRuntimeException pending() {
        return Status.UNAVAILABLE.withDescription("PENDING").asRuntimeException();
    }

    /** Returns a name of ErrorReason without its prefix; empty when no server said one. */
    static String reason(StatusRuntimeException e) {
        return detail(e, ErrorInfo.class).map(ErrorInfo::getReason).orElse("");
    }

    static String message(StatusRuntimeException e) {
        return Objects.requireNonNullElse(e.getStatus().getDescription(), "");
    }

    /** Tells whether the same call may fare better a little later. */
    private static boolean passes(StatusRuntimeException e) {
        return switch (e.getStatus().getCode()) {
            case UNAVAILABLE, DEADLINE_EXCEEDED -> true;
            // Without a reason the connection broke, not the call.
            case INTERNAL, UNKNOWN, CANCELLED -> reason(e).isEmpty();
            default -> reason(e).equals("QUEUE_FULL");
        };
    }

    private static long delayMs(StatusRuntimeException e) {
        return detail(e, RetryInfo.class).map(info -> info.getRetryDelay().getSeconds() * 1_000
                + info.getRetryDelay().getNanos() / 1_000_000).orElse(0L);
    }

    private static <T extends Message> Optional<T> detail(StatusRuntimeException e, Class<T> type) {
        try {
            for (Any detail : StatusProto.fromThrowable(e).getDetailsList()) {
                if (detail.is(type)) {
                    return Optional.of(detail.unpack(type));
                }
            }
        } catch (InvalidProtocolBufferException broken) {
            // As good as none.
        }
        return Optional.empty();
    }
}
