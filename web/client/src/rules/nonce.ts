/** How a client makes its own nonces. Pure: time and chance are arguments; docs/vectors/signature.json has examples. */

import { base64Encode } from "@bufbuild/protobuf/wire";

const TIME_MS_MAX = 2 ** 48 - 1;

/** Random bytes that a nonce takes. */
export const NONCE_RANDOM_BYTES = 10;

/**
 * Returns a fresh nonce: `c.` and, in base64url, a UUIDv7 (RFC 9562).
 *
 * The server takes it from 5 minutes before to 30 s after its own time.
 *
 * @param nowMs - unix milliseconds by the server's clock
 * @param random - 10 random bytes
 * @throws RangeError
 */
export function clientNonce(nowMs: number, random: Uint8Array): string {
  if (!(nowMs >= 0 && nowMs <= TIME_MS_MAX) || random.length !== NONCE_RANDOM_BYTES) {
    throw new RangeError("a nonce takes 48 bits of milliseconds and 10 random bytes");
  }
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, Math.floor(nowMs / 2 ** 32));
  view.setUint32(2, Math.floor(nowMs) % 2 ** 32);
  bytes.set(random, 6);
  view.setUint8(6, 0x70 | (view.getUint8(6) & 0x0f));
  view.setUint8(8, 0x80 | (view.getUint8(8) & 0x3f));
  return `c.${base64Encode(bytes, "url")}`;
}
