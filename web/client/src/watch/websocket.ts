/** A live board by WebSocket: `/ws/leaderboard`. */

import { ScoreboardError, toError } from "../error.js";
import { answerTo, type Ending, endingOf, endingOfClose } from "../rules/ending.js";
import { parseFrame } from "./frame.js";
import { type Listener, onOtherPlayer, type Stream, type Surroundings, type Wish } from "./stream.js";

const RENEW_AGAIN_MS = 60_000; // a token that is over sooner is none that another renewal would mend

export const byWebSocket: Stream = (wish, around, to, signal) =>
  new Promise((resolve) => {
    if (around.WebSocket === undefined) {
      resolve({ isFinal: false });
      return;
    }
    const socket = opened(around.WebSocket, around.url);
    if (socket instanceof ScoreboardError) {
      resolve({ isFinal: false, error: socket });
      return;
    }
    const talk = new Talk(socket, wish, around, to);
    const forget = wish.me ? onOtherPlayer(around.sessions, () => void talk.introduce()) : () => {};
    const end = (ending: Ending) => {
      forget();
      signal.removeEventListener("abort", leave);
      close(socket);
      resolve(ending);
    };
    const leave = () => end({ isFinal: false });
    signal.addEventListener("abort", leave);
    socket.addEventListener("open", () => talk.greet());
    socket.addEventListener("message", ({ data }) => {
      const ending = talk.hear(String(data));
      if (ending !== undefined) {
        end(ending);
      }
    });
    // "error" says nothing that "close" does not.
    socket.addEventListener("close", ({ code, reason }) => end(endingOfClose(code, reason)));
  });

/** Returns a socket, or why there is none: of an insecure one on a secure page, browsers throw. */
function opened(Socket: typeof WebSocket, url: string): WebSocket | ScoreboardError {
  try {
    return new Socket(`${url.replace(/^http/, "ws")}/ws/leaderboard`);
  } catch (cause) {
    return new ScoreboardError("No WebSocket can be opened here.", { code: "UNAVAILABLE", cause });
  }
}

/** Closes quietly: of a socket that is closed before it is open, browsers complain on the console. */
function close(socket: WebSocket): void {
  if (socket.readyState === socket.CONNECTING) {
    socket.addEventListener("open", () => socket.close());
  } else {
    socket.close();
  }
}

/** What is said over one socket. */
class Talk {
  private renewedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly socket: WebSocket,
    private readonly wish: Wish,
    private readonly around: Surroundings,
    private readonly to: Listener,
  ) {}

  greet(): void {
    this.socket.send(JSON.stringify({ watch: [{ board: this.wish.board, limit: this.wish.limit }] }));
    if (this.wish.me) {
      void this.introduce();
    }
  }

  /** Says who watches; without a session, or an answer about it, the board goes on without the own place. */
  async introduce(isOver = false): Promise<void> {
    const { sessions } = this.around;
    if ((await sessions.restore()) === null) {
      return;
    }
    try {
      const session = await sessions.fresh();
      const good = isOver ? await sessions.renew(session) : session;
      if (this.socket.readyState === this.socket.OPEN) {
        this.socket.send(JSON.stringify({ authorization: `Bearer ${good.accessToken}` }));
      }
    } catch (thrown) {
      if (toError(thrown).reason === "") {
        close(this.socket); // what cannot be reached cannot be watched either: begin again
      }
    }
  }

  /** Takes a text frame; returns an ending when nothing else follows from it. */
  hear(text: string): Ending | undefined {
    const frame = parseFrame(text);
    if (!(frame instanceof ScoreboardError)) {
      // Until it has read what is asked for, the server shows its default board.
      if (frame.board === this.wish.board) {
        this.to.frame(frame);
      }
      return undefined;
    }
    switch (answerTo(frame.reason)) {
      case "end":
        return endingOf(frame);
      case "wait":
        this.to.alive(frame);
        return undefined;
      case "renew":
        this.renew();
        return undefined;
      case "forget":
        this.to.alive();
        return undefined;
    }
  }

  private renew(): void {
    const nowMs = performance.now();
    if (nowMs - this.renewedAtMs >= RENEW_AGAIN_MS) {
      this.renewedAtMs = nowMs;
      void this.introduce(true);
    }
  }
}
