/** What a session signs, and how: the same payloads as `scoreboard/v1/signing.py`. No network, no clock. */

import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";

export { clientNonce, NONCE_RANDOM_BYTES } from "./rules/nonce.js";

const HMAC = { name: "HMAC", hash: "SHA-256" } as const;

/** Returns what `x-signature` of UpdateScore signs. */
export function updatePayload(userId: string, actionId: string, nonce: string): string {
  return `scoreboard.v1.UpdateScore\n${userId}\n${actionId}\n${nonce}`;
}

/** Returns what `x-signature` of Refresh signs: it makes a repeat safe. */
export function refreshPayload(refreshToken: string): string {
  return `scoreboard.v1.Refresh\n${refreshToken}`;
}

/**
 * Returns a session's key in a form that signs and cannot be read again, by nobody's script.
 *
 * @param signingKey - the session's `signing_key`, base64url
 * @throws Error where the page is neither HTTPS nor on localhost: browsers have no WebCrypto there
 */
export async function importKey(signingKey: string): Promise<CryptoKey> {
  return await subtle().importKey("raw", Uint8Array.from(base64Decode(signingKey)), HMAC, false, ["sign"]);
}

/** Returns HMAC-SHA256 of a payload as base64url without padding: the value of `x-signature`. */
export async function sign(key: CryptoKey, payload: string): Promise<string> {
  const mac = await subtle().sign(HMAC.name, key, new TextEncoder().encode(payload));
  return base64Encode(new Uint8Array(mac), "url");
}

function subtle(): SubtleCrypto {
  // Typed as always there, and missing on plain HTTP from another machine.
  const found: SubtleCrypto | undefined = globalThis.crypto?.subtle;
  if (found === undefined) {
    throw new Error("Signing needs WebCrypto: serve the page over HTTPS, or from localhost.");
  }
  return found;
}
