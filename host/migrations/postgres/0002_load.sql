-- How much the fleet used: a row per router and minute for a day, and per router and hour for 400 days. A sum divided by the
-- number of samples is the mean; sums can be added together where means cannot.

CREATE TABLE godot_mcp_router.load_minute (
    router_id text NOT NULL,
    -- When the minute began.
    at_ms bigint NOT NULL,
    at timestamptz GENERATED ALWAYS AS (to_timestamp(at_ms / 1000.0::double precision)) STORED,
    -- The life of the router that wrote the row last.
    epoch bigint NOT NULL,
    samples bigint NOT NULL,
    running_sum bigint NOT NULL,
    in_flight_sum bigint NOT NULL,
    memory_bytes_sum bigint NOT NULL,
    running_peak bigint NOT NULL,
    in_flight_peak bigint NOT NULL,
    memory_bytes_peak bigint NOT NULL,
    PRIMARY KEY (router_id, at_ms)
);
CREATE INDEX load_minute_at ON godot_mcp_router.load_minute (at_ms);

CREATE TABLE godot_mcp_router.load_hour (
    router_id text NOT NULL,
    -- When the hour began.
    at_ms bigint NOT NULL,
    at timestamptz GENERATED ALWAYS AS (to_timestamp(at_ms / 1000.0::double precision)) STORED,
    epoch bigint NOT NULL,
    samples bigint NOT NULL,
    running_sum bigint NOT NULL,
    in_flight_sum bigint NOT NULL,
    memory_bytes_sum bigint NOT NULL,
    running_peak bigint NOT NULL,
    in_flight_peak bigint NOT NULL,
    memory_bytes_peak bigint NOT NULL,
    PRIMARY KEY (router_id, at_ms)
);
CREATE INDEX load_hour_at ON godot_mcp_router.load_hour (at_ms);
