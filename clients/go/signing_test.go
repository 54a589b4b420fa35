package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

type vectors struct {
	Update []struct {
		Key       string `json:"signing_key"`
		UserID    string `json:"user_id"`
		ActionID  string `json:"action_id"`
		Nonce     string `json:"nonce"`
		Signature string `json:"x_signature"`
	} `json:"update"`
	Refresh []struct {
		Key       string `json:"signing_key"`
		Token     string `json:"refresh_token"`
		Signature string `json:"x_signature"`
	} `json:"refresh"`
	ClientNonce []struct {
		NowMs  int64  `json:"now_ms"`
		Random string `json:"random_hex"`
		Nonce  string `json:"nonce"`
	} `json:"client_nonce"`
}

func published(t *testing.T) vectors {
	t.Helper()
	text, err := os.ReadFile("../../docs/vectors/signature.json")
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Update) == 0 || len(all.Refresh) == 0 || len(all.ClientNonce) == 0 {
		t.Fatal("a kind of vectors is missing")
	}
	return all
}

func decoded(t *testing.T, key string) []byte {
	t.Helper()
	bytes, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

func equal(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestUpdatesAreSignedAsPublished(t *testing.T) {
	for _, v := range published(t).Update {
		equal(t, signUpdate(decoded(t, v.Key), v.UserID, v.ActionID, v.Nonce), v.Signature)
	}
}

func TestRefreshesAreSignedAsPublished(t *testing.T) {
	for _, v := range published(t).Refresh {
		equal(t, signRefresh(decoded(t, v.Key), v.Token), v.Signature)
	}
}

func TestNoncesAreMadeAsPublished(t *testing.T) {
	for _, v := range published(t).ClientNonce {
		chance, err := hex.DecodeString(v.Random)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, clientNonce(v.NowMs, [10]byte(chance)), v.Nonce)
	}
}
