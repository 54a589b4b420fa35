-- Without it the newest rows are summarized by autovacuum alone, once a fifth of a partition is new: until then each
-- look for what was applied last (the sweep, QueryLedger) reads all of them.
DROP INDEX score_logs_applied;
CREATE INDEX score_logs_applied ON score_logs USING brin (applied_at) WITH (autosummarize = on);
