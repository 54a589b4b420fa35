-- name: lock_catalogue
-- Lets one change of the catalogue in at a time; readers are not kept waiting.
LOCK TABLE catalogue_revisions IN SHARE ROW EXCLUSIVE MODE

-- name: read_revision
-- The revision that holds; 0 before the first.
SELECT coalesce(max(revision), 0) FROM catalogue_revisions

-- name: add_revision
-- Keeps the file beside its number, for whoever audits a ledger row.
-- $1 revision  $2 text of the file
INSERT INTO catalogue_revisions (revision, toml) VALUES ($1, $2)

-- name: read_actions
-- All actions, those switched off too.
SELECT action_id, points, reporter, value_min, value_max, cooldown, cap_count, cap_window, enabled
FROM actions ORDER BY action_id

-- name: read_boards
-- All boards, in the order of their making.
SELECT board_id, name, operator, period, time_zone, actions, grace, keep, revision FROM boards ORDER BY board_id

-- name: put_action
-- Adds an action or changes it where it differs.
-- $1 action_id  $2 points  $3 reporter (0 player or server, 1 server)  $4 value_min  $5 value_max  $6 cooldown
-- $7 cap_count  $8 cap_window  $9 enabled  $10 revision
INSERT INTO actions AS a
  (action_id, points, reporter, value_min, value_max, cooldown, cap_count, cap_window, enabled, revision)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (action_id) DO UPDATE SET
  points = $2, reporter = $3, value_min = $4, value_max = $5, cooldown = $6, cap_count = $7, cap_window = $8,
  enabled = $9, revision = $10
WHERE (a.points, a.reporter, a.value_min, a.value_max, a.cooldown, a.cap_count, a.cap_window, a.enabled)
  IS DISTINCT FROM ($2, $3, $4, $5, $6, $7, $8, $9)

-- name: switch_off_others
-- Switches off the actions that the file no longer has; the ledger still names them.
-- $1 action ids that it has (text[])  $2 revision
UPDATE actions SET enabled = false, revision = $2 WHERE action_id <> ALL($1::text[]) AND enabled

-- name: put_board
-- Adds a board, or changes how long its periods wait and stay. What a board counts never changes (board/catalogue.py).
-- $1 name  $2 operator  $3 period  $4 time_zone  $5 actions (text[], NULL: all)  $6 grace  $7 keep  $8 revision
INSERT INTO boards (name, operator, period, time_zone, actions, grace, keep, revision)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (name) DO UPDATE SET grace = $6, keep = $7
