-- What happened to the fleet and to the router: a row per change of state.

CREATE TABLE history (
    -- AUTOINCREMENT: the number of a purged row is never given again, so that a page's `before` stays true.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Given by the router that wrote the row: the same row never arrives twice.
    id TEXT NOT NULL UNIQUE,
    at_ms INTEGER NOT NULL,
    at TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch')) VIRTUAL,
    axis TEXT NOT NULL,
    -- Empty where it is about no instance.
    instance TEXT NOT NULL,
    slot INTEGER,
    run INTEGER,
    -- A tool, a plugin or a file; or empty.
    subject TEXT NOT NULL,
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    router_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    -- Its number in that life of the router.
    sequence INTEGER NOT NULL
);
CREATE INDEX history_at ON history (at_ms);
CREATE INDEX history_instance ON history (instance, seq);
-- A listener that comes back goes on from here.
CREATE INDEX history_position ON history (router_id, epoch, sequence);
