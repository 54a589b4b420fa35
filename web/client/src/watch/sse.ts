/**
 * A live board by Server-Sent Events: `/api/scores/stream`.
 *
 * By fetch instead of EventSource, which Node 20 lacks, and which can neither send a token nor tell why it was refused.
 */

import { createParser } from "eventsource-parser";
import { bearer } from "../calls.js";
import { fromBody, ScoreboardError, toError } from "../error.js";
import { type Ending, endingOf } from "../rules/ending.js";
import { parseFrame } from "./frame.js";
import { type Listener, onOtherPlayer, type Stream, type Surroundings, type Wish } from "./stream.js";

export const bySse: Stream = async (wish, around, to, signal) => {
  const own = new AbortController();
  const end = () => own.abort();
  signal.addEventListener("abort", end);
  await around.sessions.restore();
  // Who watches is said at the start of a stream, so that another one has to begin.
  const forget = wish.me ? onOtherPlayer(around.sessions, end) : () => {};
  try {
    const response = await ask(wish, around, to.version, own.signal);
    if (!response.ok || response.body === null) {
      return endingOf(await refusal(response));
    }
    return await read(response.body, to);
  } catch (thrown) {
    return { isFinal: false, error: toError(thrown) };
  } finally {
    forget();
    signal.removeEventListener("abort", end);
  }
};

async function ask(wish: Wish, around: Surroundings, version: number, signal: AbortSignal): Promise<Response> {
  const query = new URLSearchParams({ board: wish.board, limit: String(wish.limit), version: String(version) });
  const open = (headers: Record<string, string>) =>
    fetch(`${around.url}/api/scores/stream?${query}`, { headers, signal, cache: "no-store" });
  if (!wish.me || (await around.sessions.restore()) === null) {
    return await open({});
  }
  const session = await around.sessions.fresh({ signal });
  query.set("me", "true");
  const response = await open(bearer(session.accessToken));
  if (response.status !== 401) {
    return response;
  }
  await response.body?.cancel();
  return await open(bearer((await around.sessions.renew(session, { signal })).accessToken));
}

async function refusal(response: Response): Promise<ScoreboardError> {
  const body: unknown = await response.json().catch(() => undefined);
  const error = fromBody(body, response.status, response.headers.get("retry-after"));
  return error ?? new ScoreboardError(`The event stream was answered ${response.status}.`, { code: "UNAVAILABLE" });
}

async function read(body: ReadableStream<Uint8Array>, to: Listener): Promise<Ending> {
  let ending: Ending | undefined;
  const parser = createParser({
    onEvent: ({ data }) => {
      const frame = parseFrame(data);
      if (frame instanceof ScoreboardError) {
        ending = endingOf(frame);
      } else {
        to.frame(frame);
      }
    },
  });
  const reader = body.getReader();
  const text = new TextDecoder();
  while (ending === undefined) {
    const { done, value } = await reader.read();
    if (done) {
      return { isFinal: false };
    }
    parser.feed(text.decode(value, { stream: true }));
  }
  await reader.cancel();
  return ending;
}
