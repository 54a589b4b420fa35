-- name: add_act
-- Adds the ledger row of an act; returns when it was applied, or nothing when the id is there already.
-- $1 id (uuid)  $2 user number (bigint)  $3 action id (text)  $4 kind (smallint)  $5 outcome (smallint)  $6 reason (text)
-- $7 score change (bigint)  $8 score after (bigint)  $9 reporter (text)  $10 reverses (uuid)  $11 revision (integer)
-- $12 accepted at (timestamptz)
INSERT INTO score_logs (id, user_ref, action_id, kind, outcome, reason, score_change, score_after, reporter, reverses,
                        revision, accepted_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (id) DO NOTHING RETURNING applied_at

-- name: log_act
-- Adds a line to the admin log, which is never changed.
-- $1 actor  $2 action  $3 target  $4 reason (text)  $5 before  $6 after (text of JSON)
INSERT INTO admin_log (actor, action, target, reason, before, after) VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb)

-- name: set_state
-- Sets a locked player's state.
-- $1 user number (bigint)  $2 state (smallint)
UPDATE users SET state = $2, version = version + 1, updated_at = now() WHERE id = $1

-- name: set_role
-- Gives a player a role.
-- $1 user number (bigint)  $2 role (smallint)
UPDATE users SET role = $2, updated_at = now() WHERE id = $1

-- name: rename
-- Gives a locked player another name. A key that another player has breaks users_username_key_key.
-- $1 user number (bigint)  $2 name (text)  $3 key (text, NULL: need not be unique)
UPDATE users SET username = $2, username_key = $3, version = version + 1, updated_at = now() WHERE id = $1

-- name: is_name_taken
-- Whether another player has the name.
-- $1 user number (bigint)  $2 key (text)
SELECT EXISTS (SELECT FROM users WHERE username_key = $2 AND id <> $1)

-- name: lock_out
-- Locks a player so that nobody can add a password, a session or an identity either, and returns the user_id.
-- $1 user number (bigint)
SELECT user_id FROM users WHERE id = $1 FOR UPDATE

-- name: erase
-- Takes from a locked player what says who that is. A studio's own id does, a random one of ours does not.
-- $1 user number (bigint)  $2 state (smallint)  $3 name to show (text)
UPDATE users AS u
SET state = $2, username = $3, username_key = NULL, version = version + 1, updated_at = now(),
    user_id = CASE WHEN EXISTS (SELECT FROM identities i WHERE i.user_ref = u.id) THEN 'erased_' || u.id ELSE user_id END
WHERE id = $1

-- name: erase_role
-- Takes the role from an erased player.
-- $1 user number (bigint)
SELECT end_role_of_erased($1)

-- name: erase_credentials
-- $1 user number (bigint)
DELETE FROM credentials WHERE user_ref = $1

-- name: erase_sessions
-- $1 user number (bigint)
DELETE FROM sessions WHERE user_ref = $1

-- name: erase_identities
-- $1 user number (bigint)
DELETE FROM identities WHERE user_ref = $1

-- name: hide_entries
-- Hides all entries of a player from all boards; returns those of open periods as they are now.
-- $1 user number (bigint)
WITH hidden AS (
  UPDATE board_entries SET hidden = true, version = version + 1 WHERE user_ref = $1
  RETURNING board_id, period_start, user_ref, score, reached_at, version, hidden
)
SELECT h.* FROM hidden h JOIN board_periods p USING (board_id, period_start) WHERE p.state = 0

-- name: show_entries
-- Shows all entries of a player again, but those of best and last boards whose value was taken back, which take_back
-- leaves only where there is no other; returns those of open periods as they are now. A value that the ledger does not
-- have any more, since its month was archived, is shown. The ids lead to the rows of its instant: an id carries its
-- nonce's time, which lies within minutes of the acceptance.
-- $1 user number (bigint)
WITH shown AS (
  UPDATE board_entries AS e
  SET version = e.version + 1,
      hidden = b.operator <> 0 AND coalesce((
        SELECT bool_and(EXISTS (SELECT FROM score_logs r WHERE r.reverses = l.id AND r.outcome = 0))
        FROM score_logs l
        WHERE l.user_ref = e.user_ref AND l.outcome = 0 AND l.kind IN (0, 3)
          AND l.id >= first_ledger_id(e.reached_at - interval '6 minutes')
          AND l.id < first_ledger_id(e.reached_at + interval '1 minute')
          AND l.accepted_at = e.reached_at AND coalesce(l.value, l.score_change) = e.score
          AND l.applied_at < p.closes_at
          AND (b.actions IS NULL OR l.action_id = ANY(b.actions)) AND l.revision >= b.revision), false)
  FROM boards b, board_periods p
  WHERE e.user_ref = $1 AND b.board_id = e.board_id
    AND p.board_id = e.board_id AND p.period_start = e.period_start
  RETURNING e.board_id, e.period_start, e.user_ref, e.score, e.reached_at, e.version, e.hidden, p.state
)
SELECT board_id, period_start, user_ref, score, reached_at, version, hidden FROM shown WHERE state = 0

-- name: touch_entries
-- Raises the versions of a player's entries in open periods, and returns them: readers see by these that a board
-- changed, whatever it is that they show of the player.
-- $1 user number (bigint)
UPDATE board_entries AS e SET version = e.version + 1
FROM board_periods p
WHERE e.user_ref = $1 AND p.board_id = e.board_id AND p.period_start = e.period_start AND p.state = 0
RETURNING e.board_id, e.period_start, e.user_ref, e.score, e.reached_at, e.version, e.hidden

-- name: open_entries
-- All entries of a player in open periods.
-- $1 user number (bigint)
SELECT e.board_id, e.period_start, e.user_ref, e.score, e.reached_at, e.version, e.hidden
FROM board_entries e JOIN board_periods p USING (board_id, period_start) WHERE e.user_ref = $1 AND p.state = 0

-- name: take_back
-- Undoes an applied update wherever it counted, in closed periods too, and returns the entries that it changed as they
-- are now, with whether their periods are open. The reversal's ledger row must be there already. A sum loses the points.
-- A best or a last value changes only where it is the update's own: it becomes what the player's other rows make it, and
-- is hidden when there are none. Rows of archived months are not there to be looked at, so every other value stays.
-- $1 user number (bigint)  $2 the update's id (uuid)  $3 the player is active (boolean)
WITH undone AS (SELECT l.*, coalesce(l.value, l.score_change) AS measure FROM score_logs l WHERE l.id = $2),
taken_back AS MATERIALIZED (
  SELECT reverses FROM score_logs WHERE user_ref = $1 AND outcome = 0 AND reverses IS NOT NULL
),
counted AS (
  SELECT e.board_id, e.period_start, b.operator, p.state, rest.score AS rest_score, rest.reached_at AS rest_reached_at,
         undone.score_change
  FROM undone
  JOIN board_entries e ON e.user_ref = $1
  JOIN boards b ON b.board_id = e.board_id
  JOIN board_periods p ON p.board_id = e.board_id AND p.period_start = e.period_start
  LEFT JOIN LATERAL (
    SELECT coalesce(l.value, l.score_change) AS score, l.accepted_at AS reached_at
    FROM score_logs l
    WHERE b.operator <> 0 AND l.user_ref = $1 AND l.outcome = 0 AND l.kind IN (0, 3)
      -- An id carries its nonce's time, within minutes of the acceptance: a short period reads its own rows alone.
      AND l.id >= first_ledger_id(greatest(p.period_start, '1970-01-02Z') - interval '6 minutes')
      AND l.id < first_ledger_id(least(p.period_end, '9999-01-01Z') + interval '1 minute')
      AND l.accepted_at >= p.period_start AND l.accepted_at < p.period_end
      AND l.applied_at < p.closes_at
      AND (b.actions IS NULL OR l.action_id = ANY(b.actions)) AND l.revision >= b.revision
      AND NOT EXISTS (SELECT FROM taken_back t WHERE t.reverses = l.id)
    ORDER BY CASE WHEN b.operator = 1 THEN coalesce(l.value, l.score_change) END DESC,
             CASE WHEN b.operator = 1 THEN l.accepted_at END,
             CASE WHEN b.operator = 2 THEN l.accepted_at END DESC,
             CASE WHEN b.operator = 2 THEN coalesce(l.value, l.score_change) END DESC
    LIMIT 1
  ) rest ON true
  WHERE undone.accepted_at >= p.period_start AND undone.accepted_at < p.period_end
    AND undone.applied_at < p.closes_at
    AND (b.actions IS NULL OR undone.action_id = ANY(b.actions)) AND undone.revision >= b.revision
    AND CASE WHEN b.operator = 0 THEN undone.score_change <> 0
             ELSE (e.score, e.reached_at) = (undone.measure, undone.accepted_at) END
)
UPDATE board_entries AS e
SET score = CASE WHEN c.operator = 0 THEN e.score - c.score_change ELSE coalesce(c.rest_score, e.score) END,
    reached_at = CASE WHEN c.operator = 0 THEN e.reached_at ELSE coalesce(c.rest_reached_at, e.reached_at) END,
    hidden = NOT $3 OR (c.operator <> 0 AND c.rest_score IS NULL),
    version = e.version + 1
FROM counted c
WHERE e.board_id = c.board_id AND e.period_start = c.period_start AND e.user_ref = $1
RETURNING e.board_id, e.period_start, e.user_ref, e.score, e.reached_at, e.version, e.hidden, c.state

-- name: copy_score
-- Copies the all-time score that a reversal left to the locked player.
-- $1 user number (bigint)  $2 score (bigint)
UPDATE users SET score = $2, updated_at = now() WHERE id = $1
