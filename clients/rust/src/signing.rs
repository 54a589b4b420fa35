//! What a client signs, how it signs it, and how it makes its own nonces.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

pub fn sign_update(key: &[u8], user_id: &str, action_id: &str, nonce: &str) -> String {
    sign(key, &["scoreboard.v1.UpdateScore", user_id, action_id, nonce])
}

pub fn sign_refresh(key: &[u8], refresh_token: &str) -> String {
    sign(key, &["scoreboard.v1.Refresh", refresh_token])
}

/// Returns a nonce of the client's own form: "c." and a UUIDv7 (RFC 9562) in base64url.
/// `now_ms` is the server's clock in unix milliseconds; `chance` must be fresh and unpredictable.
pub fn client_nonce(now_ms: u64, chance: &[u8; 10]) -> String {
    let id = uuid::Builder::from_unix_timestamp_millis(now_ms, chance).into_uuid();
    format!("c.{}", BASE64URL.encode(id.as_bytes()))
}

/// Returns the session's key of its `signing_key`.
pub fn decode_key(signing_key: &str) -> Result<Vec<u8>, base64::DecodeError> {
    BASE64URL.decode(signing_key)
}

/// Returns x-signature: HMAC-SHA256 of the parts, joined by line feeds, as base64url without padding.
fn sign(key: &[u8], parts: &[&str]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(parts.join("\n").as_bytes());
    BASE64URL.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn vectors(kind: &str) -> Vec<Value> {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vectors/signature.json"));
        let all: Value = serde_json::from_str(text).unwrap();
        let some = all[kind].as_array().unwrap().clone();
        assert!(!some.is_empty());
        some
    }

    fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
        vector[name].as_str().unwrap()
    }

    fn key(vector: &Value) -> Vec<u8> {
        decode_key(text(vector, "signing_key")).unwrap()
    }

    #[test]
    fn updates_are_signed_as_published() {
        for v in vectors("update") {
            let signature = sign_update(&key(&v), text(&v, "user_id"), text(&v, "action_id"), text(&v, "nonce"));
            assert_eq!(signature, text(&v, "x_signature"));
        }
    }

    #[test]
    fn refreshes_are_signed_as_published() {
        for v in vectors("refresh") {
            assert_eq!(sign_refresh(&key(&v), text(&v, "refresh_token")), text(&v, "x_signature"));
        }
    }

    #[test]
    fn nonces_are_made_as_published() {
        for v in vectors("client_nonce") {
            let chance = hex::decode(text(&v, "random_hex")).unwrap().try_into().unwrap();
            assert_eq!(client_nonce(v["now_ms"].as_u64().unwrap(), &chance), text(&v, "nonce"));
        }
    }
}
