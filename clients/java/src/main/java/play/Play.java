package play;

import com.google.gson.Gson;
import io.grpc.Deadline;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import scoreboard.v1.Score.UpdateScoreResponse;

/** Plays one action on a scoreboard, and prints a line of JSON for each step:
 *
 * <pre>SCOREBOARD_PASSWORD='correct horse battery' java -jar target/play.jar 127.0.0.1:8080 ada win-round</pre>
 */
public final class Play {
    private static final long DEADLINE_S = 60; // of the whole play; a nonce lives for 5 minutes
    private static final Gson GSON = new Gson();

    private Play() {}

    public static void main(String[] args) throws InterruptedException {
        String password = System.getenv("SCOREBOARD_PASSWORD");
        if (args.length != 3 || password == null) {
            System.err.println("usage: SCOREBOARD_PASSWORD=... play HOST:PORT USERNAME ACTION");
            System.exit(2);
        }
        // Behind TLS: TlsChannelCredentials.create() instead.
        ManagedChannel channel = Grpc.newChannelBuilder(args[0], InsecureChannelCredentials.create()).build();
        int status = 0;
        try {
            play(channel, args[1], password, args[2]);
        } catch (StatusRuntimeException e) {
            System.err.println(Repeat.reason(e) + ": " + Repeat.message(e));
            status = 1;
        } finally {
            channel.shutdownNow();
        }
        System.exit(status);
    }

    private static void play(ManagedChannel channel, String username, String password, String action)
            throws InterruptedException {
        Deadline deadline = Deadline.after(DEADLINE_S, TimeUnit.SECONDS);
        Player player = Player.signIn(channel, deadline, username, password);
        player.listBoards();
        String nonce = player.nonce();
        say("nonce", "nonce", nonce);
        sayUpdate("score", player.score(action, nonce));
        // The first answer might have been lost: asking again with the same nonce gets it again, and counts nothing.
        UpdateScoreResponse update = player.score(action, nonce);
        sayUpdate("again", update);
        player.refresh();
        player.watch(update.getNewScore());
        player.logout();
    }

    private static void sayUpdate(String step, UpdateScoreResponse update) {
        say(step, "status", update.getStatus().name(), "new_score", (long) update.getNewScore(),
                "update_id", update.getUpdateId());
    }

    /** Prints a step and its values, given as pairs of name and value. */
    static void say(String step, Object... pairs) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("step", step);
        for (int i = 0; i < pairs.length; i += 2) {
            line.put((String) pairs[i], pairs[i + 1]);
        }
        System.out.println(GSON.toJson(line));
    }
}
