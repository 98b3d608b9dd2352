-- How much the fleet used: a row per router and minute for a day, and per router and hour for 400 days. A sum divided by the
-- number of samples is the mean; sums can be added together where means cannot.

CREATE TABLE load_minute (
    router_id TEXT NOT NULL,
    -- When the minute began.
    at_ms INTEGER NOT NULL,
    at TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch')) VIRTUAL,
    -- The life of the router that wrote the row last.
    epoch INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    running_sum INTEGER NOT NULL,
    in_flight_sum INTEGER NOT NULL,
    memory_bytes_sum INTEGER NOT NULL,
    running_peak INTEGER NOT NULL,
    in_flight_peak INTEGER NOT NULL,
    memory_bytes_peak INTEGER NOT NULL,
    PRIMARY KEY (router_id, at_ms)
) WITHOUT ROWID;
CREATE INDEX load_minute_at ON load_minute (at_ms);

CREATE TABLE load_hour (
    router_id TEXT NOT NULL,
    -- When the hour began.
    at_ms INTEGER NOT NULL,
    at TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch')) VIRTUAL,
    epoch INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    running_sum INTEGER NOT NULL,
    in_flight_sum INTEGER NOT NULL,
    memory_bytes_sum INTEGER NOT NULL,
    running_peak INTEGER NOT NULL,
    in_flight_peak INTEGER NOT NULL,
    memory_bytes_peak INTEGER NOT NULL,
    PRIMARY KEY (router_id, at_ms)
) WITHOUT ROWID;
CREATE INDEX load_hour_at ON load_hour (at_ms);
