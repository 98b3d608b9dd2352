-- For new users only (`migrate --with-godot-versions`): the table of project versions. Afterwards it is the users' own:
-- nothing here ever changes it again.
CREATE TABLE godot_versions (
    id INTEGER PRIMARY KEY,
    project_slug TEXT NOT NULL,
    version_tag TEXT NOT NULL,
    project_path TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    instance_status TEXT NOT NULL DEFAULT 'idle',
    instance_last_heartbeat TEXT,
    instance_pid INTEGER,
    instance_socket_path TEXT,
    instance_created_at TEXT,
    instance_error_message TEXT,
    UNIQUE (project_slug, version_tag)
);
