-- Alerts and their deliveries, brought up to date from the alert journal in a router's data directory, which knows better: a row is
-- written again as it changes, and an older version never takes a newer one's place.

CREATE TABLE godot_mcp_router.alert (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    router_id text NOT NULL,
    -- Made of the condition's key: the same over restarts and routers.
    alert text NOT NULL,
    -- Which time that it fired: a row for each.
    firing bigint NOT NULL,
    key text NOT NULL,
    rule text NOT NULL,
    name text NOT NULL,
    severity text NOT NULL,
    -- Empty where it is about no instance.
    instance text NOT NULL,
    summary text NOT NULL,
    remedy text NOT NULL,
    runbook text NOT NULL,
    attributes text NOT NULL,
    state text NOT NULL,
    since_ms bigint NOT NULL,
    fired_ms bigint NOT NULL,
    fired_at timestamptz GENERATED ALWAYS AS (to_timestamp(fired_ms / 1000.0::double precision)) STORED,
    acknowledged_by text NOT NULL,
    acknowledged_ms bigint,
    resolved_ms bigint,
    resolved_at timestamptz GENERATED ALWAYS AS (to_timestamp(resolved_ms / 1000.0::double precision)) STORED,
    resolved_because text NOT NULL,
    -- What happened to it, as JSON, from when it is over; before, the router has it.
    story text NOT NULL,
    at_ms bigint NOT NULL,
    -- The life of the router that wrote the row last, and the row's number among what that life wrote.
    epoch bigint NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (router_id, alert, firing)
);
CREATE UNIQUE INDEX alert_seq ON godot_mcp_router.alert (seq);
CREATE INDEX alert_at ON godot_mcp_router.alert (at_ms);

CREATE TABLE godot_mcp_router.delivery (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    router_id text NOT NULL,
    -- Made of alert, firing, step and sink. A row comes with the first attempt, or with the end of a delivery without any.
    id text NOT NULL,
    -- The first of the alerts that it is news of.
    alert text NOT NULL,
    firing bigint NOT NULL,
    step bigint NOT NULL,
    sink text NOT NULL,
    route text NOT NULL,
    occasion text NOT NULL,
    severity text NOT NULL,
    decided_ms bigint NOT NULL,
    -- sending, failed (it is tried again), delivered, dead_letter, requeued, cancelled or collapsed.
    outcome text NOT NULL,
    attempts bigint NOT NULL,
    first_attempt_ms bigint,
    last_attempt_ms bigint,
    -- What the receiver said last where it did not take it, or why it was given up.
    answer text NOT NULL,
    at_ms bigint NOT NULL,
    at timestamptz GENERATED ALWAYS AS (to_timestamp(at_ms / 1000.0::double precision)) STORED,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (router_id, id)
);
CREATE UNIQUE INDEX delivery_seq ON godot_mcp_router.delivery (seq);
CREATE INDEX delivery_at ON godot_mcp_router.delivery (at_ms);
CREATE INDEX delivery_alert ON godot_mcp_router.delivery (alert, firing);
