-- The catalogue, from scoreboard.toml (board/catalogue_store.py). A revision is a file that was applied and changed it.
CREATE TABLE catalogue_revisions (
  revision   integer PRIMARY KEY,
  toml       text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE actions (
  action_id  text COLLATE "C" PRIMARY KEY CHECK (length(action_id) BETWEEN 1 AND 50),
  points     bigint NOT NULL,                                   -- unused where a value is reported
  reporter   smallint NOT NULL DEFAULT 0,                       -- 0 player or server, 1 server only
  value_min  bigint,                                            -- set: the (server) reporter sends a value in this range
  value_max  bigint,
  cooldown   interval,
  cap_count  integer,
  cap_window interval,                                          -- windows of that length from 1970 on: a day's are UTC days
  enabled    boolean NOT NULL DEFAULT true,
  revision   integer NOT NULL                                   -- that changed it last
);

CREATE TABLE boards (
  board_id  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name      text COLLATE "C" NOT NULL UNIQUE,
  operator  smallint NOT NULL DEFAULT 0,                        -- 0 sum, 1 best, 2 last
  period    smallint NOT NULL DEFAULT 0,                        -- 0 none, 1 day, 2 week, 3 month, 4 rows of board_periods only
  time_zone text NOT NULL DEFAULT 'UTC',
  actions   text[],                                             -- NULL: all
  grace     interval NOT NULL DEFAULT '15 minutes',
  keep      interval,                                           -- closed periods are dropped after this; NULL: kept
  revision  integer NOT NULL                                    -- that made it: ledger rows of earlier ones do not count
);

CREATE TABLE board_periods (                                    -- made lazily for days and weeks, by hand for seasons
  board_id     integer NOT NULL REFERENCES boards,
  period_start timestamptz NOT NULL,                            -- '-infinity' for the all-time board
  period_end   timestamptz NOT NULL,
  closes_at    timestamptz NOT NULL,                            -- end + grace: what is applied from then on does not count here
  label        text NOT NULL,                                   -- '2026-11-24', '2026-W48', 'season-3'
  state        smallint NOT NULL DEFAULT 0,                     -- 0 open, 1 closed, 2 archived
  PRIMARY KEY (board_id, period_start),
  UNIQUE (board_id, label),
  CHECK (period_start < period_end AND closes_at >= period_end)
);
