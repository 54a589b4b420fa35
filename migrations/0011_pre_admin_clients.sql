-- AdminService asks whether a trusted client that operates is still switched on, and what its role is now.
GRANT SELECT (client_id, role, disabled_at) ON clients TO admin_svc;
