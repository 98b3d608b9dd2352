-- What happened to the fleet and to the router: a row per change of state.

CREATE TABLE godot_mcp_router.history (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Given by the router that wrote the row: the same row never arrives twice.
    id text NOT NULL UNIQUE,
    at_ms bigint NOT NULL,
    at timestamptz GENERATED ALWAYS AS (to_timestamp(at_ms / 1000.0::double precision)) STORED,
    axis text NOT NULL,
    -- Empty where it is about no instance.
    instance text NOT NULL,
    slot bigint,
    run bigint,
    -- A tool, a plugin or a file; or empty.
    subject text NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    router_id text NOT NULL,
    epoch bigint NOT NULL,
    -- Its number in that life of the router.
    sequence bigint NOT NULL
);
CREATE INDEX history_at ON godot_mcp_router.history (at_ms);
CREATE INDEX history_instance ON godot_mcp_router.history (instance, seq);
-- A listener that comes back goes on from here.
CREATE INDEX history_position ON godot_mcp_router.history (router_id, epoch, sequence);
