CREATE TABLE users (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- inner number: locks, ledger, boards; never shown
  user_id      text COLLATE "C" NOT NULL UNIQUE CHECK (length(user_id) BETWEEN 1 AND 50), -- shown; the token's sub
  username     text NOT NULL CHECK (length(username) BETWEEN 1 AND 100),
  username_key text COLLATE "C" UNIQUE,                         -- NFKC + casefold; NULL after deletion and for guests
  score        bigint NOT NULL DEFAULT 0,                       -- copy of the all-time entry; not indexed: HOT updates
  role         smallint NOT NULL DEFAULT 0,                     -- 0 player, 1 moderator, 2 operator, 3 admin
  state        smallint NOT NULL DEFAULT 0,                     -- 0 active, 1 banned, 2 deleted
  version      bigint NOT NULL DEFAULT 1,                       -- of name and state, for the view
  created_at   timestamptz NOT NULL DEFAULT now(),
  updated_at   timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);

CREATE INDEX users_username ON users (username text_pattern_ops);

-- Readable by auth_svc alone.
CREATE TABLE credentials (
  user_ref      bigint PRIMARY KEY REFERENCES users ON DELETE CASCADE,
  password_hash text NOT NULL,
  changed_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sessions (
  sid           uuid PRIMARY KEY,
  user_ref      bigint NOT NULL REFERENCES users ON DELETE CASCADE,
  master_key_id smallint NOT NULL,                              -- the key that signing_key is derived from
  created_at    timestamptz NOT NULL DEFAULT now(),
  expires_at    timestamptz NOT NULL,
  revoked_at    timestamptz,
  revoked_why   text
);

CREATE INDEX sessions_user ON sessions (user_ref);

CREATE INDEX sessions_revoked ON sessions (revoked_at) WHERE revoked_at IS NOT NULL; -- refills the deny-list

CREATE TABLE refresh_tokens (
  token_hash bytea PRIMARY KEY,                                 -- SHA-256; successor = HMAC(server key, token_hash)
  sid        uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
  seq        integer NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at    timestamptz,
  UNIQUE (sid, seq)
);

CREATE TABLE jwt_keys (
  kid          text PRIMARY KEY,
  public_jwk   jsonb NOT NULL,
  private_key  bytea NOT NULL,                                  -- wrapped with the deployment's key
  publish_from timestamptz NOT NULL,
  sign_from    timestamptz NOT NULL,
  retire_at    timestamptz
);

-- Trusted servers and services.
CREATE TABLE clients (
  client_id          text PRIMARY KEY,
  secret_hash        text NOT NULL,
  role               smallint NOT NULL,                         -- 4 game_server
  actions            text[],                                    -- NULL: all
  updates_per_second integer NOT NULL DEFAULT 1000,
  disabled_at        timestamptz
);
