/** Counts one action of the player, once, however often it has to be sent. What comes next, `rules/scoring` decides. */

import { bearer, type Services } from "./calls.js";
import { ScoreboardError, toError } from "./error.js";
import { type UpdateScoreResponse, UpdateStatus } from "./gen/scoreboard/v1/score_pb.js";
import { Deadline, type Patience, pause } from "./repeat.js";
import { clientNonce, NONCE_RANDOM_BYTES } from "./rules/nonce.js";
import type { Session } from "./rules/renewal.js";
import { isPassing, waitBefore } from "./rules/retry.js";
import { failure, outcomeWaitS, stepAfter, type Tries, unsent } from "./rules/scoring.js";
import type { Sessions } from "./sessions.js";
import { sign, updatePayload } from "./signing.js";

/** How an action is sent. */
export interface ScoreOptions extends Patience {
  /** Settles an action whose outcome stayed unknown: the nonce that it was sent with. Default: a fresh one. */
  nonce?: string;
}

/** Returns a fresh nonce by the server's clock. */
export function nonceFor(session: Session): string {
  const random = crypto.getRandomValues(new Uint8Array(NONCE_RANDOM_BYTES));
  return clientNonce(Date.now() + session.clockAheadMs, random);
}

/** What an update is sent by. */
export interface Sender {
  readonly services: Services;
  readonly sessions: Sessions;
}

/** Returns the committed update, or a PENDING one when the deadline came first. Throws ScoreboardError. */
export async function score(by: Sender, actionId: string, options: ScoreOptions): Promise<UpdateScoreResponse> {
  const deadline = new Deadline(options);
  const accepted = await send(by, actionId, options.nonce, deadline);
  return accepted.status === UpdateStatus.PENDING ? await settle(by, accepted, deadline) : accepted;
}

/** An update between two tries. */
interface Sending {
  readonly actionId: string;
  readonly session: Session;
  readonly nonce: string;
  readonly so: Tries;
}

async function send(by: Sender, actionId: string, nonce: string | undefined, deadline: Deadline) {
  let sending = await begin(by, actionId, nonce, deadline);
  for (let tries = 1; ; tries++) {
    try {
      return await once(by.services, sending, deadline);
    } catch (thrown) {
      sending = await recover(by, sending, toError(thrown), tries, deadline);
    }
  }
}

async function begin(by: Sender, actionId: string, nonce: string | undefined, deadline: Deadline): Promise<Sending> {
  const so = { isNonceOurs: nonce === undefined && !by.sessions.mustIssue, isUnknown: false, isRenewed: false };
  try {
    const session = await by.sessions.fresh(deadline.patience);
    const first = nonce ?? (by.sessions.mustIssue ? await issue(by, actionId, deadline) : nonceFor(session));
    return { actionId, session, nonce: first, so };
  } catch (thrown) {
    throw unsent(toError(thrown), "", so);
  }
}

async function once(services: Services, { actionId, session, nonce }: Sending, deadline: Deadline) {
  const { userId } = session;
  const signature = await sign(session.key, updatePayload(userId, actionId, nonce));
  const headers = { ...bearer(session.accessToken), "x-signature": signature };
  return await services.scores.updateScore({ userId, actionId, nonce }, { ...deadline.options, headers });
}

/** Returns the update as it is to be sent next. Throws the error when nothing helps. */
async function recover(
  by: Sender,
  sending: Sending,
  error: ScoreboardError,
  tries: number,
  deadline: Deadline,
): Promise<Sending> {
  const { session, so } = sending;
  const step = stepAfter(error, so);
  if (step === "renew" || step === "issue") {
    try {
      return await (step === "renew" ? renewed(by, sending, deadline) : reissued(by, sending, deadline));
    } catch (thrown) {
      throw unsent(toError(thrown), sending.nonce, so);
    }
  }
  const waitS = step === "repeat" ? waitBefore(error, tries, deadline.leftS, Math.random()) : undefined;
  if (waitS === undefined) {
    await by.sessions.noteRefusal(error, session);
    throw failure(error, sending.nonce, so);
  }
  await pause(waitS, deadline.signal);
  return { ...sending, so: { ...so, isUnknown: so.isUnknown || error.isUnknown } };
}

async function renewed(by: Sender, sending: Sending, deadline: Deadline): Promise<Sending> {
  const session = await by.sessions.renewOwn(sending.session, deadline.patience);
  return { ...sending, session, so: { ...sending.so, isRenewed: true } };
}

async function reissued(by: Sender, sending: Sending, deadline: Deadline): Promise<Sending> {
  by.sessions.mustIssue = true;
  const nonce = await issue(by, sending.actionId, deadline);
  return { ...sending, nonce, so: { ...sending.so, isNonceOurs: false } };
}

async function issue(by: Sender, actionId: string, deadline: Deadline): Promise<string> {
  return (await issueNonces(by, actionId, 1, deadline.patience))[0] ?? "";
}

/** Returns nonces of the server's. Throws ScoreboardError. */
export async function issueNonces({ services, sessions }: Sender, actionId: string, count: number, patience: Patience) {
  const request = { actionId, count };
  return (await sessions.call((_, options) => services.scores.issueNonce(request, options), patience)).nonces;
}

/** Asks for the outcome of an accepted update until it is known, or time is over: it is durable, and will be decided. */
async function settle(by: Sender, accepted: UpdateScoreResponse, deadline: Deadline): Promise<UpdateScoreResponse> {
  let found = accepted;
  for (let asked = 0; found.status === UpdateStatus.PENDING; asked++) {
    const waitS = outcomeWaitS(asked, Math.random());
    if (waitS >= deadline.leftS || deadline.signal?.aborted) {
      break;
    }
    await pause(waitS, deadline.signal);
    try {
      found = await getUpdate(by, accepted.updateId, deadline.patience);
    } catch (thrown) {
      const error = toError(thrown);
      // For a moment nobody knows of it where Redis was lost.
      if (!isPassing(error) && error.reason !== "NOT_FOUND") {
        break;
      }
    }
  }
  return counted(found);
}

/** Returns the outcome of an update of the player's. Throws ScoreboardError. */
export async function getUpdate({ services, sessions }: Sender, updateId: string, patience: Patience) {
  return await sessions.call((_, options) => services.scores.getUpdate({ updateId }, options), patience);
}

/** Returns an update that counts, or will. Throws what its call would have, had the worker decided in time. */
function counted(found: UpdateScoreResponse): UpdateScoreResponse {
  const metadata = { update_id: found.updateId };
  if (found.status === UpdateStatus.REFUSED) {
    const reason = found.reason as ScoreboardError["reason"];
    throw new ScoreboardError(`The update was refused: ${reason}.`, { reason, metadata });
  }
  if (found.status === UpdateStatus.PARKED) {
    const words = "The update failed again and again; an operator decides.";
    throw new ScoreboardError(words, { reason: "INTERNAL", code: "INTERNAL", metadata });
  }
  return found;
}
