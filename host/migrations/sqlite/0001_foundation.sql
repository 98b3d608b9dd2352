-- The router's own tables. Times are milliseconds since 1970; the generated columns show them to people.
-- Rows carry the router that wrote them and its epoch, as on Postgres, where several routers can share a database.

CREATE TABLE schema_version (
    version INTEGER PRIMARY KEY,
    -- Programs that know this version or a later one may serve on this schema. One version back always may.
    compatible_down_to INTEGER NOT NULL CHECK (compatible_down_to < version),
    title TEXT NOT NULL,
    at_ms INTEGER NOT NULL
);

CREATE TABLE router (
    router_id TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL,
    program_version TEXT NOT NULL,
    started_at_ms INTEGER NOT NULL,
    seen_at_ms INTEGER NOT NULL
);

CREATE TABLE audit (
    -- AUTOINCREMENT: the number of a purged row is never given again, so that a page's `before` stays true.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Given by the router that wrote the row: the same row never arrives twice.
    id TEXT NOT NULL UNIQUE,
    at_ms INTEGER NOT NULL,
    at TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch')) VIRTUAL,
    actor TEXT NOT NULL,
    role TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    from_address TEXT NOT NULL,
    result TEXT NOT NULL,
    detail TEXT NOT NULL,
    router_id TEXT NOT NULL,
    epoch INTEGER NOT NULL
);
CREATE INDEX audit_at ON audit (at_ms);
CREATE INDEX audit_target ON audit (target, seq);

CREATE TABLE registered_instance (
    id TEXT PRIMARY KEY,
    definition TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    router_id TEXT NOT NULL,
    epoch INTEGER NOT NULL
);

CREATE TABLE instance_state (
    instance TEXT PRIMARY KEY,
    -- Stopped by an operator: starts only by one.
    stopped BOOLEAN NOT NULL,
    at_ms INTEGER NOT NULL,
    -- Which router owns the instance, in which of its lives.
    router_id TEXT NOT NULL,
    epoch INTEGER NOT NULL
);

CREATE TABLE crash (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    instance TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    at TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch')) VIRTUAL,
    evidence TEXT NOT NULL,
    router_id TEXT NOT NULL,
    epoch INTEGER NOT NULL
);
CREATE INDEX crash_instance ON crash (instance, seq);
CREATE INDEX crash_at ON crash (at_ms);

CREATE TABLE plugin_value (
    plugin TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    router_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    PRIMARY KEY (plugin, key)
) WITHOUT ROWID;
