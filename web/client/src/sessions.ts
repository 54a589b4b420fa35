/**
 * Keeps the one session of a client: begins it, renews it, and ends it, in step with the other tabs.
 *
 * Holds always: a refresh token is used by one tab at a time, and what it brought is stored before the lock is given
 * back. What is to be done, `rules/renewal` decides.
 */

import type { CallOptions } from "@connectrpc/connect";
import { bearer, type Services } from "./calls.js";
import { ScoreboardError, toError } from "./error.js";
import type { Session as Issued } from "./gen/scoreboard/v1/auth_pb.js";
import { Listeners } from "./listeners.js";
import { type Exclusive, exclusive } from "./locks.js";
import { Deadline, type Patience, repeat, within } from "./repeat.js";
import { endsSession, isDue, refusesRenewal, renewAtMs, renewalOf, type Session } from "./rules/renewal.js";
import { importKey, refreshPayload, sign } from "./signing.js";
import { type SessionStore, usualStore } from "./store.js";

/** Who is signed in. */
export interface Player {
  readonly userId: string;
  /** The shown name, as far as it is known: empty for a guest who has not scored yet. */
  readonly username: string;
  /** Whether the player has no password yet: without this session it is lost. */
  readonly isGuest: boolean;
}

export class Sessions {
  /** Whether the clock here, or the deployment, allows no nonces of the client's own; a new token is told the time. */
  mustIssue = false;
  private session: Session | undefined; // as the store had it last
  private readonly store: Promise<SessionStore>;
  private readonly restored: Promise<void>;
  private readonly locked: Exclusive;
  private tabs: BroadcastChannel | undefined;
  private readonly listeners = new Listeners<Player | null>();

  constructor(
    private readonly services: Services,
    url: string,
    store: SessionStore | undefined,
  ) {
    const name = `scoreboard ${url}`;
    this.locked = exclusive(name);
    this.store = store === undefined ? usualStore(url) : Promise.resolve(store);
    // Tabs share what IndexedDB keeps, and nothing else.
    const isShared = store === undefined && "indexedDB" in globalThis && "BroadcastChannel" in globalThis;
    this.tabs = isShared ? new BroadcastChannel(name) : undefined;
    this.tabs?.addEventListener("message", () => void this.reload());
    this.restored = this.reload();
  }

  /** The player, as far as the store was read; see `restore`. */
  get player(): Player | null {
    return this.session === undefined ? null : toPlayer(this.session);
  }

  onPlayer(listener: (player: Player | null) => void): () => void {
    return this.listeners.add(listener);
  }

  async restore(): Promise<Player | null> {
    await this.restored;
    return this.player;
  }

  close(): void {
    this.tabs?.close();
    this.tabs = undefined; // a renewal that is on its way has nobody to tell
    this.listeners.clear();
  }

  /** Takes what a login brought. */
  async begin(issued: Issued, username: string, isGuest = false): Promise<Player> {
    const key = await importKey(issued.signingKey);
    const session = toSession(issued, { key, username, isGuest }, Date.now());
    await this.restored;
    await this.locked(() => this.put(session));
    return toPlayer(session);
  }

  /** Returns the session with a token that is good. Throws ScoreboardError; TOKEN_MISSING: nobody is signed in. */
  async fresh(patience: Patience = {}): Promise<Session> {
    await this.restored;
    const session = this.session;
    if (session === undefined) {
      throw notSignedIn();
    }
    return isDue(session, Date.now()) ? await this.renew(session, patience) : session;
  }

  /** Returns a session with new tokens in place of `used`, whoever gets them. Throws ScoreboardError. */
  async renew(used: Session, patience: Patience = {}): Promise<Session> {
    // Whoever loses patience leaves it running: the tokens that the server has spent must be replaced.
    const renewal = this.locked(async () => {
      const kept = await (await this.store).load();
      switch (renewalOf(used, kept)) {
        case "ended":
          this.take(undefined);
          throw notSignedIn();
        case "adopt":
          this.take(kept);
          return kept as Session;
        case "renew":
          return await this.refresh(used);
      }
    });
    return await within(renewal, new Deadline(patience));
  }

  /** The same, of the same player: a call that was meant for one is not made for another, who signed in meanwhile. */
  async renewOwn(used: Session, patience: Patience): Promise<Session> {
    const renewed = await this.renew(used, patience);
    if (renewed.userId !== used.userId) {
      throw new ScoreboardError("Another player signed in meanwhile.", { reason: "NOT_YOUR_SCORE" });
    }
    return renewed;
  }

  /**
   * Returns the answer to a call of the player's; its token is renewed when it turns out to be over.
   * Throws ScoreboardError.
   */
  async call<T>(call: (session: Session, options: CallOptions) => Promise<T>, patience: Patience): Promise<T> {
    const deadline = new Deadline(patience);
    const withToken = (session: Session) =>
      repeat((options) => call(session, { ...options, headers: bearer(session.accessToken) }), deadline);
    const session = await this.fresh(patience);
    try {
      return await withToken(session);
    } catch (thrown) {
      const error = toError(thrown);
      if (error.reason === "TOKEN_EXPIRED") {
        return await withToken(await this.renewOwn(session, deadline.patience));
      }
      await this.noteRefusal(error, session);
      throw error;
    }
  }

  /** Forgets the session when the refusal of a call says that it is over. */
  async noteRefusal(error: ScoreboardError, session: Session): Promise<void> {
    if (endsSession(error.reason)) {
      await this.end(session);
    }
  }

  /** Forgets the session: at the server it is over already. */
  async forget(): Promise<void> {
    await this.locked(() => this.put(undefined));
  }

  /** Ends the session at the server, then here. Throws ScoreboardError when the server could not be told. */
  async logout(patience: Patience): Promise<void> {
    await this.restored;
    await this.locked(async () => {
      const session = await (await this.store).load();
      if (session !== undefined) {
        const request = { refreshToken: session.refreshToken };
        try {
          await repeat((options) => this.services.auth.logout(request, options), new Deadline(patience));
        } catch (thrown) {
          if (!endsSession(toError(thrown).reason)) {
            throw thrown;
          }
        }
      }
      await this.put(undefined);
    });
  }

  /** Notes what the server says of the player. */
  async note(player: Player): Promise<void> {
    if (isSame(this.player, player)) {
      return;
    }
    await this.locked(async () => {
      const kept = await (await this.store).load();
      if (kept !== undefined && kept.userId === player.userId && !isSame(toPlayer(kept), player)) {
        await this.put({ ...kept, ...player });
      }
    });
  }

  private async end(over: Session): Promise<void> {
    await this.locked(async () => {
      const kept = await (await this.store).load();
      if (kept === undefined || kept.refreshToken === over.refreshToken) {
        await this.put(undefined);
      }
    });
  }

  private async refresh(used: Session): Promise<Session> {
    // Signed, so that a repeat after a lost answer gets the same tokens in place of a revoked session.
    const signature = await sign(used.key, refreshPayload(used.refreshToken));
    // The last token, which may be over: it tells a gateway before several regions which one the player is of.
    const headers = { ...bearer(used.accessToken), "x-signature": signature };
    const request = { refreshToken: used.refreshToken };
    try {
      const issued = await repeat(
        (options) => this.services.auth.refresh(request, { ...options, headers }),
        new Deadline({}), // far within the 60 s for which a signed refresh is safe to repeat
      );
      const session = toSession(issued, used, Date.now());
      await this.put(session);
      return session;
    } catch (thrown) {
      const error = toError(thrown);
      if (refusesRenewal(error.reason)) {
        await this.put(undefined);
      }
      throw error;
    }
  }

  /** Stores, and tells the listeners and the other tabs. Under the lock. */
  private async put(session: Session | undefined): Promise<void> {
    const store = await this.store;
    await (session === undefined ? store.clear() : store.save(session));
    this.take(session);
    this.tabs?.postMessage("changed");
  }

  private async reload(): Promise<void> {
    const store = await this.store;
    // What cannot be read is no session; the next login mends it.
    this.take(await store.load().catch(() => undefined));
  }

  private take(session: Session | undefined): void {
    const before = this.player;
    if (session?.accessToken !== this.session?.accessToken) {
      this.mustIssue = false;
    }
    this.session = session;
    const now = this.player;
    if (!isSame(before, now)) {
      this.listeners.tell(now);
    }
  }
}

function notSignedIn(): ScoreboardError {
  return new ScoreboardError("Nobody is signed in: call login, register or guest first.", {
    reason: "TOKEN_MISSING",
    code: "UNAUTHENTICATED",
  });
}

function toPlayer({ userId, username, isGuest }: Session): Player {
  return { userId, username, isGuest };
}

function isSame(one: Player | null, other: Player | null): boolean {
  return one?.userId === other?.userId && one?.username === other?.username && one?.isGuest === other?.isGuest;
}

/** known: what the server does not tell, or told at the beginning. */
function toSession(issued: Issued, known: Pick<Session, "key" | "username" | "isGuest">, nowMs: number): Session {
  return {
    userId: issued.userId,
    username: known.username,
    isGuest: known.isGuest,
    accessToken: issued.accessToken,
    refreshToken: issued.refreshToken,
    key: known.key,
    renewAtMs: renewAtMs(nowMs, issued.expiresIn),
    clockAheadMs: issued.serverTime - nowMs,
  };
}
