/** Decides when a session needs new tokens, and whose are the newest. Pure. */

import type { Reason } from "../error.js";

/** Seconds before an access token's end at which it is renewed: covers clocks that differ and slow networks. */
export const RENEW_BEFORE_S = 30;

/** What is kept of a session. Everything in it can be stored in IndexedDB; the key can be used, not read. */
export interface Session {
  readonly userId: string;
  /** The shown name, as far as it is known: empty for a guest who has not scored yet. */
  readonly username: string;
  /** Whether the player has no password yet, so that this session is all that leads to it. */
  readonly isGuest: boolean;
  readonly accessToken: string;
  /** Good for one renewal. */
  readonly refreshToken: string;
  /** Signs updates and renewals. */
  readonly key: CryptoKey;
  /** When to renew, unix milliseconds by the clock here. */
  readonly renewAtMs: number;
  /** The server's clock minus the one here, milliseconds. */
  readonly clockAheadMs: number;
}

/** Returns when an access token of this life, got now, is to be renewed. */
export function renewAtMs(nowMs: number, expiresInS: number): number {
  return nowMs + (expiresInS - RENEW_BEFORE_S) * 1000;
}

/** Tells whether the access token is over, or nearly. */
export function isDue(session: Session, nowMs: number): boolean {
  return nowMs >= session.renewAtMs;
}

/**
 * Returns what to do about a session whose token is over, `kept` being what the store has by now.
 *
 * Another tab may have renewed it meanwhile (`adopt`), or logged out (`ended`).
 */
export function renewalOf(used: Session, kept: Session | undefined): "renew" | "adopt" | "ended" {
  if (kept === undefined) {
    return "ended";
  }
  return kept.refreshToken === used.refreshToken ? "renew" : "adopt";
}

/** Tells whether a call's refusal means that the session is over for good: only a new login leads on. */
export function endsSession(reason: Reason): boolean {
  return reason === "SESSION_REVOKED" || reason === "TOKEN_INVALID";
}

/** The same for a renewal's refusal: there, the token that is over is the session's last. */
export function refusesRenewal(reason: Reason): boolean {
  return endsSession(reason) || reason === "TOKEN_EXPIRED" || reason === "SIGNATURE_INVALID";
}
