-- name: counted_times
-- When a player's jobs of an action counted, for spans of acceptance. The ids narrow it to the player's rows of those
-- days: an id carries its nonce's time, which lies within minutes of the acceptance.
-- $1 user numbers (bigint[])  $2 action ids (text[])  $3 from  $4 until (timestamptz[])  $5 lowest ids  $6 ids above (uuid[])
SELECT f.user_ref, f.action_id, l.accepted_at
FROM unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::uuid[], $6::uuid[])
  AS f (user_ref, action_id, since, until, id_low, id_high)
JOIN score_logs l ON l.user_ref = f.user_ref AND l.id >= f.id_low AND l.id < f.id_high
  AND l.action_id = f.action_id AND l.accepted_at >= f.since AND l.accepted_at < f.until
WHERE l.outcome = 0 AND l.kind = 0
