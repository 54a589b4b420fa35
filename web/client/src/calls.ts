/** The services, called by gRPC-Web through the gateway. */

import { type Client as Calls, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { AuthService } from "./gen/scoreboard/v1/auth_pb.js";
import { LeaderboardService } from "./gen/scoreboard/v1/leaderboard_pb.js";
import { ScoreService } from "./gen/scoreboard/v1/score_pb.js";

/** What clients may call. */
export interface Services {
  readonly auth: Calls<typeof AuthService>;
  readonly scores: Calls<typeof ScoreService>;
  readonly boards: Calls<typeof LeaderboardService>;
}

/** Returns the services behind a gateway's address. */
export function services(url: string): Services {
  const transport = createGrpcWebTransport({ baseUrl: url });
  return {
    auth: createClient(AuthService, transport),
    scores: createClient(ScoreService, transport),
    boards: createClient(LeaderboardService, transport),
  };
}

/** Returns the header that says who calls. */
export function bearer(accessToken: string): Record<string, string> {
  return { authorization: `Bearer ${accessToken}` };
}
