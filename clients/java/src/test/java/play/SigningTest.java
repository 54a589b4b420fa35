package play;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.gson.Gson;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What is signed and made here is what docs/vectors says. A kind without vectors fails, as there is nothing to run. */
class SigningTest {
    record Update(String signing_key, String user_id, String action_id, String nonce, String x_signature) {}

    record Refresh(String signing_key, String refresh_token, String x_signature) {}

    record ClientNonce(long now_ms, String random_hex, String nonce) {}

    record Vectors(List<Update> update, List<Refresh> refresh, List<ClientNonce> client_nonce) {}

    static Vectors vectors() throws IOException {
        return new Gson().fromJson(Files.readString(Path.of("../../docs/vectors/signature.json")), Vectors.class);
    }

    static List<Update> updates() throws IOException {
        return vectors().update;
    }

    static List<Refresh> refreshes() throws IOException {
        return vectors().refresh;
    }

    static List<ClientNonce> clientNonces() throws IOException {
        return vectors().client_nonce;
    }

    static byte[] decoded(String key) {
        return Base64.getUrlDecoder().decode(key);
    }

    @ParameterizedTest
    @MethodSource("updates")
    void updatesAreSignedAsPublished(Update v) {
        assertEquals(v.x_signature, Signing.signUpdate(decoded(v.signing_key), v.user_id, v.action_id, v.nonce));
    }

    @ParameterizedTest
    @MethodSource("refreshes")
    void refreshesAreSignedAsPublished(Refresh v) {
        assertEquals(v.x_signature, Signing.signRefresh(decoded(v.signing_key), v.refresh_token));
    }

    @ParameterizedTest
    @MethodSource("clientNonces")
    void noncesAreMadeAsPublished(ClientNonce v) {
        assertEquals(v.nonce, Signing.clientNonce(v.now_ms, HexFormat.of().parseHex(v.random_hex)));
    }
}
