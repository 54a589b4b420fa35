-- What each service may do: docs/wiring.md. Nobody but the owner and auth_svc can read a password's hash.
GRANT SELECT ON users TO auth_svc;
GRANT INSERT (user_id, username, username_key, role) ON users TO auth_svc;
GRANT SELECT, INSERT, UPDATE ON credentials TO auth_svc;
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions, refresh_tokens, jwt_keys TO auth_svc;
GRANT SELECT ON clients TO auth_svc;

GRANT SELECT (id, user_id, username, state, score) ON users TO score_svc;
GRANT SELECT ON score_logs, dead_letters, catalogue_revisions, actions, boards, board_periods TO score_svc;
GRANT SELECT (client_id, role, actions, updates_per_second, disabled_at) ON clients TO score_svc;

GRANT SELECT ON users TO worker;
GRANT UPDATE (score, updated_at) ON users TO worker;
GRANT SELECT, INSERT ON score_logs TO worker;
GRANT SELECT ON score_logs_other, board_entries_other TO worker; -- upkeep counts what found no partition
GRANT SELECT, INSERT, UPDATE ON board_entries, board_periods, action_usage TO worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON dead_letters TO worker;
GRANT SELECT ON catalogue_revisions, actions, boards TO worker;
GRANT USAGE ON SEQUENCE board_epoch TO worker;

GRANT SELECT (id, user_id, username, state, version) ON users TO leaderboard_svc, stream_svc;
GRANT SELECT ON board_entries, board_periods, boards, actions, catalogue_revisions TO leaderboard_svc, stream_svc;
