package play;

import static play.Play.say;

import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.AbstractStub;
import io.grpc.stub.MetadataUtils;
import java.security.SecureRandom;
import java.util.Base64;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import scoreboard.v1.Auth.LoginRequest;
import scoreboard.v1.Auth.LogoutRequest;
import scoreboard.v1.Auth.RefreshRequest;
import scoreboard.v1.Auth.RegisterRequest;
import scoreboard.v1.Auth.Session;
import scoreboard.v1.AuthServiceGrpc;
import scoreboard.v1.Leaderboard.Board;
import scoreboard.v1.Leaderboard.ListBoardsRequest;
import scoreboard.v1.LeaderboardServiceGrpc;
import scoreboard.v1.Score.UpdateScoreRequest;
import scoreboard.v1.Score.UpdateScoreResponse;
import scoreboard.v1.Score.UpdateStatus;
import scoreboard.v1.ScoreServiceGrpc;
import scoreboard.v1.Stream.LeaderboardUpdate;
import scoreboard.v1.Stream.WatchLeaderboardRequest;
import scoreboard.v1.StreamServiceGrpc;

/** A session at a gateway. */
final class Player {
    private static final long TRY_FOR_S = 10;
    private static final SecureRandom RANDOM = new SecureRandom();

    private final ManagedChannel channel;
    private final Deadline deadline;
    private Session session;
    private long sinceNanos; // when the session came, by this machine's clock

    private Player(ManagedChannel channel, Deadline deadline) {
        this.channel = channel;
        this.deadline = deadline;
    }

    /** Registers, or logs in where the name is there already. A registration is not repeated. */
    static Player signIn(ManagedChannel channel, Deadline deadline, String username, String password)
            throws InterruptedException {
        Player player = new Player(channel, deadline);
        String step = "register";
        try {
            player.keep(player.auth()
                    .register(RegisterRequest.newBuilder().setUsername(username).setPassword(password).build()));
        } catch (StatusRuntimeException e) {
            if (e.getStatus().getCode() != Status.Code.ALREADY_EXISTS) {
                throw e;
            }
            step = "login";
            LoginRequest request = LoginRequest.newBuilder().setUsername(username).setPassword(password).build();
            player.keep(Repeat.until(deadline, () -> player.auth().login(request)));
        }
        say(step, "user_id", player.session.getUserId());
        return player;
    }

    void listBoards() throws InterruptedException {
        List<Board> boards = Repeat.until(deadline, () -> timed(LeaderboardServiceGrpc.newBlockingStub(channel))
                .listBoards(ListBoardsRequest.getDefaultInstance())).getBoardsList();
        say("boards", "names", boards.stream().map(Board::getName).toList());
    }

    /** Makes a nonce by the server's clock: this machine's own may be wrong. */
    String nonce() {
        byte[] chance = new byte[10];
        RANDOM.nextBytes(chance);
        long sinceMs = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - sinceNanos);
        return Signing.clientNonce((long) session.getServerTime() + sinceMs, chance);
    }

    /** Counts an action, once for each nonce however often it is sent. */
    UpdateScoreResponse score(String action, String nonce) throws InterruptedException {
        UpdateScoreRequest request = UpdateScoreRequest.newBuilder()
                .setUserId(session.getUserId()).setActionId(action).setNonce(nonce).build();
        String signature = Signing.signUpdate(key(), request.getUserId(), action, nonce);
        return Repeat.until(deadline, () -> {
            UpdateScoreResponse update = with(timed(ScoreServiceGrpc.newBlockingStub(channel)),
                    "authorization", bearer(), "x-signature", signature).updateScore(request);
            if (update.getStatus() == UpdateStatus.PENDING) {
                throw Repeat.pending();
            }
            return update;
        });
    }

    /** Renews the tokens. It is signed, so that a repeat gets the same new ones instead of ending the session. */
    void refresh() throws InterruptedException {
        String token = session.getRefreshToken();
        String signature = Signing.signRefresh(key(), token);
        RefreshRequest request = RefreshRequest.newBuilder().setRefreshToken(token).build();
        keep(Repeat.until(deadline, () -> with(auth(), "x-signature", signature).refresh(request)));
        say("refresh", "expires_in", session.getExpiresIn());
    }

    /** Reads the live board until it shows the player with this score. A stream that breaks is opened again. */
    void watch(double score) throws InterruptedException {
        WatchLeaderboardRequest request = WatchLeaderboardRequest.newBuilder().setMe(true).build();
        LeaderboardUpdate shown = Repeat.until(deadline, () -> {
            try (Context.CancellableContext context = Context.current().withCancellation()) { // ends the stream
                Context before = context.attach();
                try {
                    Iterator<LeaderboardUpdate> frames = with(timed(StreamServiceGrpc.newBlockingStub(channel)),
                            "authorization", bearer()).watchLeaderboard(request);
                    while (frames.hasNext()) {
                        LeaderboardUpdate frame = frames.next();
                        if (frame.getMe().getScore() >= score) {
                            return frame;
                        }
                    }
                } finally {
                    context.detach(before);
                }
            }
            throw Status.UNAVAILABLE.withDescription("The stream ended.").asRuntimeException();
        });
        say("watch", "version", (long) shown.getVersion(), "rank", shown.getMe().getRank(),
                "score", (long) shown.getMe().getScore());
    }

    void logout() throws InterruptedException {
        LogoutRequest request = LogoutRequest.newBuilder().setRefreshToken(session.getRefreshToken()).build();
        say("logout", "success", Repeat.until(deadline, () -> auth().logout(request)).getSuccess());
    }

    private void keep(Session fresh) {
        session = fresh;
        sinceNanos = System.nanoTime();
    }

    private byte[] key() {
        return Base64.getUrlDecoder().decode(session.getSigningKey());
    }

    private String bearer() {
        return "Bearer " + session.getAccessToken();
    }

    private AuthServiceGrpc.AuthServiceBlockingStub auth() {
        return timed(AuthServiceGrpc.newBlockingStub(channel));
    }

    /** Gives one try its time. */
    private <S extends AbstractStub<S>> S timed(S stub) {
        return stub.withDeadline(Deadline.after(TRY_FOR_S, TimeUnit.SECONDS).minimum(deadline));
    }

    private static <S extends AbstractStub<S>> S with(S stub, String... pairs) {
        Metadata headers = new Metadata();
        for (int i = 0; i < pairs.length; i += 2) {
            headers.put(Metadata.Key.of(pairs[i], Metadata.ASCII_STRING_MARSHALLER), pairs[i + 1]);
        }
        return stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
    }
}
