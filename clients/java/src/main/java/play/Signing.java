package play;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.util.Base64;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** What a client signs, how it signs it, and how it makes its own nonces. */
final class Signing {
    private static final Base64.Encoder BASE64URL = Base64.getUrlEncoder().withoutPadding();

    private Signing() {}

    static String signUpdate(byte[] key, String userId, String actionId, String nonce) {
        return sign(key, "scoreboard.v1.UpdateScore", userId, actionId, nonce);
    }

    static String signRefresh(byte[] key, String refreshToken) {
        return sign(key, "scoreboard.v1.Refresh", refreshToken);
    }

    /** Returns a nonce of the client's own form: "c." and a UUIDv7 (RFC 9562) in base64url.
     *
     * @param nowMs the server's clock, unix milliseconds
     * @param chance 10 bytes, fresh and unpredictable
     */
    static String clientNonce(long nowMs, byte[] chance) {
        byte[] id = ByteBuffer.allocate(16).putLong(nowMs << 16).position(6).put(chance).array();
        id[6] = (byte) (0x70 | id[6] & 0x0f); // version 7
        id[8] = (byte) (0x80 | id[8] & 0x3f); // variant of RFC 9562
        return "c." + BASE64URL.encodeToString(id);
    }

    /** Returns x-signature: HMAC-SHA256 of the parts, joined by line feeds, as base64url without padding.
     *
     * @param key the session's signing_key, decoded
     */
    private static String sign(byte[] key, String... parts) {
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key, "HmacSHA256"));
            return BASE64URL.encodeToString(mac.doFinal(String.join("\n", parts).getBytes(StandardCharsets.UTF_8)));
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException(e); // every Java has HMAC-SHA256
        }
    }
}
