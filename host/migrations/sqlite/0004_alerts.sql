-- Alerts and their deliveries, brought up to date from the alert journal in a router's data directory, which knows better: a row is
-- written again as it changes, and an older version never takes a newer one's place.

CREATE TABLE alert (
    -- AUTOINCREMENT: the number of a purged row is never given again, so that a page's `before` stays true.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    router_id TEXT NOT NULL,
    -- Made of the condition's key: the same over restarts and routers.
    alert TEXT NOT NULL,
    -- Which time that it fired: a row for each.
    firing INTEGER NOT NULL,
    key TEXT NOT NULL,
    rule TEXT NOT NULL,
    name TEXT NOT NULL,
    severity TEXT NOT NULL,
    -- Empty where it is about no instance.
    instance TEXT NOT NULL,
    summary TEXT NOT NULL,
    remedy TEXT NOT NULL,
    runbook TEXT NOT NULL,
    attributes TEXT NOT NULL,
    state TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    fired_ms INTEGER NOT NULL,
    fired_at TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', fired_ms / 1000.0, 'unixepoch')) VIRTUAL,
    acknowledged_by TEXT NOT NULL,
    acknowledged_ms INTEGER,
    resolved_ms INTEGER,
    resolved_at TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', resolved_ms / 1000.0, 'unixepoch')) VIRTUAL,
    resolved_because TEXT NOT NULL,
    -- What happened to it, as JSON, from when it is over; before, the router has it.
    story TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    -- The life of the router that wrote the row last, and the row's number among what that life wrote.
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    UNIQUE (router_id, alert, firing)
);
CREATE INDEX alert_at ON alert (at_ms);

CREATE TABLE delivery (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    router_id TEXT NOT NULL,
    -- Made of alert, firing, step and sink. A row comes with the first attempt, or with the end of a delivery without any.
    id TEXT NOT NULL,
    -- The first of the alerts that it is news of.
    alert TEXT NOT NULL,
    firing INTEGER NOT NULL,
    step INTEGER NOT NULL,
    sink TEXT NOT NULL,
    route TEXT NOT NULL,
    occasion TEXT NOT NULL,
    severity TEXT NOT NULL,
    decided_ms INTEGER NOT NULL,
    -- sending, failed (it is tried again), delivered, dead_letter, requeued, cancelled or collapsed.
    outcome TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    first_attempt_ms INTEGER,
    last_attempt_ms INTEGER,
    -- What the receiver said last where it did not take it, or why it was given up.
    answer TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    at TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch')) VIRTUAL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    UNIQUE (router_id, id)
);
CREATE INDEX delivery_at ON delivery (at_ms);
CREATE INDEX delivery_alert ON delivery (alert, firing);
