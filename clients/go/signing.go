package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// sign returns x-signature: HMAC-SHA256 of the parts, joined by line feeds, as base64url without padding.
// The key is the session's signing_key, decoded.
func sign(key []byte, parts ...string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(strings.Join(parts, "\n")))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func signUpdate(key []byte, userID, actionID, nonce string) string {
	return sign(key, "scoreboard.v1.UpdateScore", userID, actionID, nonce)
}

func signRefresh(key []byte, refreshToken string) string {
	return sign(key, "scoreboard.v1.Refresh", refreshToken)
}

// clientNonce returns a nonce of the client's own form: "c." and a UUIDv7 (RFC 9562) in base64url.
// nowMs is the server's clock in unix milliseconds; chance must be fresh and unpredictable.
func clientNonce(nowMs int64, chance [10]byte) string {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], uint64(nowMs)<<16)
	copy(id[6:], chance[:])
	id[6] = 0x70 | id[6]&0x0f // version 7
	id[8] = 0x80 | id[8]&0x3f // variant of RFC 9562
	return "c." + base64.RawURLEncoding.EncodeToString(id[:])
}
