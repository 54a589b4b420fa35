import { describe, expect, test } from "vitest";
import vectors from "../../../docs/vectors/signature.json" with { type: "json" };
import { clientNonce, importKey, refreshPayload, sign, updatePayload } from "../src/signing.js";

const bytes = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

describe("docs/vectors/signature.json", () => {
  test.each(vectors.client_nonce)("a nonce of $now_ms and $random_hex", ({ now_ms, random_hex, nonce }) => {
    expect(clientNonce(now_ms, bytes(random_hex))).toBe(nonce);
  });

  test.each(vectors.update)("an update of $user_id", async (vector) => {
    const payload = updatePayload(vector.user_id, vector.action_id, vector.nonce);
    expect(payload).toBe(vector.payload);
    expect(await sign(await importKey(vector.signing_key), payload)).toBe(vector.x_signature);
  });

  test.each(vectors.refresh)("a refresh with $refresh_token", async (vector) => {
    const payload = refreshPayload(vector.refresh_token);
    expect(payload).toBe(vector.payload);
    expect(await sign(await importKey(vector.signing_key), payload)).toBe(vector.x_signature);
  });
});

test("a fraction of a millisecond is left out of a nonce", () => {
  const random = new Uint8Array(10);
  expect(clientNonce(1795564800123.9, random)).toBe(clientNonce(1795564800123, random));
});

test.each([
  [-1, 10],
  [2 ** 48, 10],
  [Number.NaN, 10],
  [0, 9],
  [0, 11],
])("no nonce is made of the time %s and %s random bytes", (nowMs, length) => {
  expect(() => clientNonce(nowMs, new Uint8Array(length))).toThrow(RangeError);
});

test("an imported key signs, and nobody can read it", async () => {
  const key = await importKey("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
  expect(key.extractable).toBe(false);
  expect(key.usages).toEqual(["sign"]);
  await expect(crypto.subtle.exportKey("raw", key)).rejects.toThrow();
});
