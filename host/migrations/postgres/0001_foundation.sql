-- The router's own tables. Times are milliseconds since 1970; the generated columns show them to people.
-- Rows carry the router that wrote them and its epoch (one life of a router), so that several can share a database.

CREATE TABLE godot_mcp_router.schema_version (
    version integer PRIMARY KEY,
    -- Programs that know this version or a later one may serve on this schema. One version back always may.
    compatible_down_to integer NOT NULL CHECK (compatible_down_to < version),
    title text NOT NULL,
    at_ms bigint NOT NULL
);

CREATE TABLE godot_mcp_router.router (
    router_id text PRIMARY KEY,
    epoch bigint NOT NULL,
    program_version text NOT NULL,
    started_at_ms bigint NOT NULL,
    seen_at_ms bigint NOT NULL
);

CREATE TABLE godot_mcp_router.audit (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Given by the router that wrote the row: the same row never arrives twice.
    id text NOT NULL UNIQUE,
    at_ms bigint NOT NULL,
    at timestamptz GENERATED ALWAYS AS (to_timestamp(at_ms / 1000.0::double precision)) STORED,
    actor text NOT NULL,
    role text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    from_address text NOT NULL,
    result text NOT NULL,
    detail text NOT NULL,
    router_id text NOT NULL,
    epoch bigint NOT NULL
);
CREATE INDEX audit_at ON godot_mcp_router.audit (at_ms);
CREATE INDEX audit_target ON godot_mcp_router.audit (target, seq);

CREATE TABLE godot_mcp_router.registered_instance (
    id text PRIMARY KEY,
    definition text NOT NULL,
    at_ms bigint NOT NULL,
    router_id text NOT NULL,
    epoch bigint NOT NULL
);

CREATE TABLE godot_mcp_router.instance_state (
    instance text PRIMARY KEY,
    -- Stopped by an operator: starts only by one.
    stopped boolean NOT NULL,
    at_ms bigint NOT NULL,
    -- Which router owns the instance, in which of its lives.
    router_id text NOT NULL,
    epoch bigint NOT NULL
);

CREATE TABLE godot_mcp_router.crash (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE,
    instance text NOT NULL,
    at_ms bigint NOT NULL,
    at timestamptz GENERATED ALWAYS AS (to_timestamp(at_ms / 1000.0::double precision)) STORED,
    evidence text NOT NULL,
    router_id text NOT NULL,
    epoch bigint NOT NULL
);
CREATE INDEX crash_instance ON godot_mcp_router.crash (instance, seq);
CREATE INDEX crash_at ON godot_mcp_router.crash (at_ms);

CREATE TABLE godot_mcp_router.plugin_value (
    plugin text NOT NULL,
    key text NOT NULL,
    value bytea NOT NULL,
    at_ms bigint NOT NULL,
    router_id text NOT NULL,
    epoch bigint NOT NULL,
    PRIMARY KEY (plugin, key)
);
