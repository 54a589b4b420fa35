/** The client: what a game, a page or a program uses. */

import { type Services, services } from "./calls.js";
import { toError } from "./error.js";
import type { Board, GetLeaderboardResponse, GetRankResponse } from "./gen/scoreboard/v1/leaderboard_pb.js";
import type { UpdateScoreResponse } from "./gen/scoreboard/v1/score_pb.js";
import type { LeaderboardUpdate } from "./gen/scoreboard/v1/stream_pb.js";
import { Deadline, type Patience, repeat } from "./repeat.js";
import { WAYS, type Way } from "./rules/plan.js";
import { getUpdate, issueNonces, nonceFor, type ScoreOptions, score } from "./score.js";
import { type Player, Sessions } from "./sessions.js";
import type { SessionStore } from "./store.js";
import type { Surroundings } from "./watch/stream.js";
import { Watch } from "./watch/watch.js";

/** How a client is set up. */
export interface ClientOptions {
  /** Where the session is kept; default IndexedDB, in Node memory. */
  store?: SessionStore;
  /** A WebSocket for where there is none (Node 20: the one of the package `ws`). */
  WebSocket?: typeof WebSocket;
  /** The ways to live boards, the preferred one first; default WebSocket, Server-Sent Events, polling. */
  ways?: readonly [Way, ...Way[]];
  /** Seconds that a call may take with all its tries; default 15. */
  deadlineS?: number;
}

/** Which board. */
export interface BoardOptions extends Patience {
  /** Its name; default `all`. */
  board?: string;
  /** Label of a period, `current` or `previous`; default the current one. */
  period?: string;
}

/** What changes of an account; what is left out stays as it is. */
export interface ProfileChanges {
  username?: string;
  /** The present one; a guest has none. */
  password?: string;
  newPassword?: string;
}

/** What is watched. */
export interface WatchOptions {
  /** The board's name; default `all`. Its current period is watched. */
  board?: string;
  /** Rows, 1 to 100; default 10. */
  limit?: number;
  /** Brings the own place along, in each board's `me`, while somebody is signed in. */
  me?: boolean;
}

/**
 * Signs a player in, sends what the player does so that it counts once, reads and watches boards.
 *
 * ```ts
 * const client = new Client("http://127.0.0.1:8080");
 * await client.login("ada", "correct horse battery staple");
 * const update = await client.score("win-round");
 * for await (const board of client.watch({ limit: 3 })) {
 *   console.log(board.leaderboard.map((row) => `${row.rank} ${row.username} ${row.score}`));
 * }
 * ```
 *
 * It keeps one session: access tokens are renewed before they end, by one tab at a time. A call that met a server or a
 * network that was away is repeated until its deadline, an update with the same nonce: it counts once.
 */
export class Client {
  private readonly services: Services;
  private readonly sessions: Sessions;
  private readonly surroundings: Surroundings;
  private readonly ways: readonly [Way, ...Way[]];
  private readonly deadlineS: number | undefined;

  /** @param url - the gateway's address; default the page's own origin */
  constructor(url: string = globalThis.location?.origin ?? "http://127.0.0.1:8080", options: ClientOptions = {}) {
    const address = url.replace(/\/+$/, "");
    this.services = services(address);
    this.sessions = new Sessions(this.services, address, options.store);
    const socket = options.WebSocket ?? (globalThis.WebSocket as typeof WebSocket | undefined);
    const shared = { url: address, services: this.services, sessions: this.sessions };
    this.surroundings = { ...shared, WebSocket: socket, running: new Set() };
    this.ways = usable(options.ways ?? WAYS, socket !== undefined);
    this.deadlineS = options.deadlineS;
  }

  /** Who is signed in, as far as it is known yet: after a reload, `restore` waits until it is. */
  get player(): Player | null {
    return this.sessions.player;
  }

  /** Returns who is signed in, once the session that an earlier page left was looked for. */
  async restore(): Promise<Player | null> {
    return await this.sessions.restore();
  }

  /** Calls the listener when somebody signs in or out, here or in another tab. Returns what ends that. */
  onPlayer(listener: (player: Player | null) => void): () => void {
    return this.sessions.onPlayer(listener);
  }

  /**
   * Creates an account and signs in. Throws ScoreboardError, e.g. USERNAME_TAKEN.
   *
   * Not repeated by itself: a lost answer would come back as USERNAME_TAKEN. Then use `login`.
   */
  async register(username: string, password: string, patience: Patience = {}): Promise<Player> {
    const call = this.services.auth.register({ username, password }, this.deadline(patience).options);
    return await this.sessions.begin(await orError(call), username);
  }

  /**
   * Creates a player without a password and signs in; without a name one is made up. Throws ScoreboardError.
   *
   * The session is all that leads to the player. Not repeated by itself: each try may leave a player behind.
   */
  async guest(username = "", patience: Patience = {}): Promise<Player> {
    const call = this.services.auth.guest({ username }, this.deadline(patience).options);
    return await this.sessions.begin(await orError(call), username, true);
  }

  /** Signs in. Throws ScoreboardError, e.g. BAD_CREDENTIALS. */
  async login(username: string, password: string, patience: Patience = {}): Promise<Player> {
    const issued = await repeat(
      (options) => this.services.auth.login({ username, password }, options),
      this.deadline(patience),
    );
    return await this.sessions.begin(issued, username);
  }

  /** Ends the session, at the server and in all tabs. Throws ScoreboardError when the server could not be told. */
  async logout(patience: Patience = {}): Promise<void> {
    await this.sessions.logout(this.patient(patience));
  }

  /**
   * Changes the player's name, password or both; what is left out stays as it is.
   *
   * An account has to give its present password; a guest becomes an account by a username and a new password. A new
   * password ends all other sessions. Throws ScoreboardError, e.g. USERNAME_TAKEN, BAD_CREDENTIALS.
   */
  async updateProfile(changes: ProfileChanges, patience: Patience = {}): Promise<Player> {
    const profile = await this.sessions.call(
      (_, options) => this.services.auth.updateProfile(changes, options),
      this.patient(patience),
    );
    const isGuest = this.player?.isGuest === true && !changes.newPassword;
    const player = { userId: profile.userId, username: profile.username, isGuest };
    await this.sessions.note(player);
    return player;
  }

  /**
   * Erases the player for good: name, password, sessions, places on the boards. A guest has no password to give.
   * Throws ScoreboardError, e.g. BAD_CREDENTIALS.
   */
  async deleteAccount(password = "", patience: Patience = {}): Promise<void> {
    await this.sessions.call(
      (_, options) => this.services.auth.deleteAccount({ password }, options),
      this.patient(patience),
    );
    await this.sessions.forget();
  }

  /** Returns a fresh nonce; keep it with the action until its outcome is known, and repeat with it. */
  async nonce(): Promise<string> {
    return nonceFor(await this.sessions.fresh());
  }

  /**
   * Returns nonces of the server's, 1 to 50, each good for one update of this action within 5 minutes. Where a
   * deployment takes no others, or the clock here is wrong, `score` asks for one by itself. Throws ScoreboardError.
   */
  async issueNonces(actionId: string, count = 1, patience: Patience = {}): Promise<string[]> {
    return await issueNonces(this.surroundings, actionId, count, this.patient(patience));
  }

  /**
   * Counts one action of the player, once, however often it is sent. Returns the committed update, or one that is
   * PENDING when the deadline came first: `getUpdate` tells its outcome.
   *
   * Throws ScoreboardError: COOLDOWN, CAP_REACHED, RATE_LIMITED, … When it `isUnknown` whether the action counted,
   * scoring again with the error's `nonce` settles it.
   */
  async score(actionId: string, options: ScoreOptions = {}): Promise<UpdateScoreResponse> {
    const update = await score(this.surroundings, actionId, { ...options, ...this.patient(options) });
    if (this.player !== null && update.username !== "") {
      await this.sessions.note({ ...this.player, username: update.username });
    }
    return update;
  }

  /** Returns what became of an update of the player's. Throws ScoreboardError, e.g. NOT_FOUND. */
  async getUpdate(updateId: string, patience: Patience = {}): Promise<UpdateScoreResponse> {
    return await getUpdate(this.surroundings, updateId, this.patient(patience));
  }

  /** Returns the top of a board. limit: rows, 1 to 100. Throws ScoreboardError, e.g. UNKNOWN_BOARD. */
  async top(limit = 10, options: BoardOptions & { offset?: number } = {}): Promise<GetLeaderboardResponse> {
    const { board = "", period = "", offset = 0 } = options;
    return await repeat(
      (call) => this.services.boards.getLeaderboard({ limit, offset, board, period }, call),
      this.deadline(options),
    );
  }

  /** Returns a player's place, the own one by default. Throws ScoreboardError, e.g. UNKNOWN_USER. */
  async rank(userId?: string, options: BoardOptions = {}): Promise<GetRankResponse> {
    const { board = "", period = "" } = options;
    const whose = userId ?? (await this.sessions.fresh()).userId;
    return await repeat(
      (call) => this.services.boards.getRank({ userId: whose, board, period }, call),
      this.deadline(options),
    );
  }

  /** Returns the rows around a player, the own ones by default. limit: rows on each side, 1 to 50; default 5. */
  async around(userId?: string, options: BoardOptions & { limit?: number } = {}): Promise<GetLeaderboardResponse> {
    const { board = "", period = "", limit = 5 } = options;
    const whose = userId ?? (await this.sessions.fresh()).userId;
    return await repeat(
      (call) => this.services.boards.getAround({ userId: whose, board, period, limit }, call),
      this.deadline(options),
    );
  }

  /** Returns the boards with their periods, in order of their making. Throws ScoreboardError. */
  async boards(patience: Patience = {}): Promise<Board[]> {
    return (await repeat((call) => this.services.boards.listBoards({}, call), this.deadline(patience))).boards;
  }

  /**
   * Returns a live board: iterate it, or listen to it. The callback is the same as `watch(…).onBoard(…)`.
   *
   * It comes back by itself when the connection is lost; `state` and `onState` tell how it is doing.
   */
  watch(options: WatchOptions = {}, onBoard?: (board: LeaderboardUpdate) => void): Watch {
    const { board = "all", limit = 10, me = false } = options;
    const watch = new Watch({ board, limit, me }, this.ways, this.surroundings);
    if (onBoard !== undefined) {
      watch.onBoard(onBoard);
    }
    return watch;
  }

  /** Ends all watches; the session lives on until `logout` or its end. */
  close(): void {
    for (const watch of [...this.surroundings.running]) {
      watch.close();
    }
    this.sessions.close();
  }

  private patient(patience: Patience): Patience {
    return { deadlineS: patience.deadlineS ?? this.deadlineS, signal: patience.signal };
  }

  private deadline(patience: Patience): Deadline {
    return new Deadline(this.patient(patience));
  }
}

async function orError<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (thrown) {
    throw toError(thrown);
  }
}

function usable(ways: readonly Way[], hasWebSocket: boolean): readonly [Way, ...Way[]] {
  const [first = "polling", ...others] = ways.filter((way) => way !== "websocket" || hasWebSocket);
  return [first, ...others];
}
