//! Every statement that serving runs, in one place: a test prepares each on both databases.
//!
//! `CAST` stands wherever Postgres could not infer the type of a parameter. Where the dialects differ, the two texts
//! stand side by side.

pub(crate) mod alerts;
#[cfg(test)]
mod tests;

use crate::sql::{Sql, sql};

/// The schema's version and the oldest version whose programs may use it.
pub(crate) const SCHEMA_READ: Sql = sql!(
    "SELECT CAST(version AS bigint), CAST(compatible_down_to AS bigint) FROM "
    schema_version " ORDER BY version DESC LIMIT 1"
);

/// This router's own row. Doubles as the proof that writing works.
pub(crate) const ROUTER_SEEN: Sql = sql!(
    "INSERT INTO " router " (router_id, epoch, program_version, started_at_ms, seen_at_ms) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (router_id) DO UPDATE SET epoch = excluded.epoch, program_version = excluded.program_version,
         started_at_ms = excluded.started_at_ms, seen_at_ms = excluded.seen_at_ms"
);

/// Clients that are connected to the server, of whatever program: ours among them.
pub(crate) const SERVER_CONNECTIONS: Sql = Sql {
    postgres: "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'",
    sqlite: "SELECT 0",
};

/// Many audit rows at once, as one JSON array, in its order. A row that is there already is passed over.
pub(crate) const AUDIT_INSERT: Sql = Sql {
    postgres: "INSERT INTO godot_mcp_router.audit
            (id, at_ms, actor, role, action, target, from_address, result, detail, router_id, epoch)
        SELECT id, at_ms, actor, role, action, target, from_address, result, detail, router_id, epoch
        FROM ROWS FROM (json_to_recordset(CAST($1 AS json)) AS (id text, at_ms bigint, actor text, role text, action text,
            target text, from_address text, result text, detail text, router_id text, epoch bigint))
            WITH ORDINALITY AS r (id, at_ms, actor, role, action, target, from_address, result, detail, router_id, epoch, n)
        ORDER BY n
        ON CONFLICT (id) DO NOTHING",
    sqlite: "INSERT INTO audit
            (id, at_ms, actor, role, action, target, from_address, result, detail, router_id, epoch)
        SELECT value ->> 'id', value ->> 'at_ms', value ->> 'actor', value ->> 'role', value ->> 'action',
            value ->> 'target', value ->> 'from_address', value ->> 'result', value ->> 'detail',
            value ->> 'router_id', value ->> 'epoch'
        FROM json_each($1) WHERE true ORDER BY key
        ON CONFLICT (id) DO NOTHING",
};

/// A page of the audit, newest first.
pub(crate) const AUDIT_PAGE: Sql = sql!(
    "SELECT seq, id, at_ms, actor, role, action, target, from_address, result, detail, router_id, epoch FROM "
    audit
    " WHERE (CAST($1 AS bigint) IS NULL OR seq < $1)
        AND (CAST($2 AS text) IS NULL OR actor = $2)
        AND (CAST($3 AS text) IS NULL OR action = $3)
        AND (CAST($4 AS text) IS NULL OR target = $4)
        AND (CAST($5 AS bigint) IS NULL OR at_ms >= $5)
      ORDER BY seq DESC LIMIT $6"
);

/// One batch of audit rows past their time.
pub(crate) const AUDIT_PURGE: Sql = sql!(
    "DELETE FROM " audit " WHERE seq IN (SELECT seq FROM " audit " WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)"
);

/// Many rows of the history at once, as [`AUDIT_INSERT`].
pub(crate) const HISTORY_INSERT: Sql = Sql {
    postgres: "INSERT INTO godot_mcp_router.history
            (id, at_ms, axis, instance, slot, run, subject, from_state, to_state, reason, detail, router_id, epoch, sequence)
        SELECT id, at_ms, axis, instance, slot, run, subject, \"from\", \"to\", reason, detail, router_id, epoch, sequence
        FROM ROWS FROM (json_to_recordset(CAST($1 AS json)) AS (id text, at_ms bigint, axis text, instance text, slot bigint,
            run bigint, subject text, \"from\" text, \"to\" text, reason text, detail text, router_id text, epoch bigint,
            sequence bigint))
            WITH ORDINALITY AS r (id, at_ms, axis, instance, slot, run, subject, \"from\", \"to\", reason, detail, router_id,
            epoch, sequence, n)
        ORDER BY n
        ON CONFLICT (id) DO NOTHING",
    sqlite: "INSERT INTO history
            (id, at_ms, axis, instance, slot, run, subject, from_state, to_state, reason, detail, router_id, epoch, sequence)
        SELECT value ->> 'id', value ->> 'at_ms', value ->> 'axis', value ->> 'instance', value ->> 'slot', value ->> 'run',
            value ->> 'subject', value ->> 'from', value ->> 'to', value ->> 'reason', value ->> 'detail',
            value ->> 'router_id', value ->> 'epoch', value ->> 'sequence'
        FROM json_each($1) WHERE true ORDER BY key
        ON CONFLICT (id) DO NOTHING",
};

/// A page of the history, newest first.
pub(crate) const HISTORY_PAGE: Sql = sql!(
    "SELECT seq, id, at_ms, axis, instance, slot, run, subject, from_state, to_state, reason, detail, router_id, epoch, sequence
        FROM " history
    " WHERE (CAST($1 AS bigint) IS NULL OR seq < $1)
        AND (CAST($2 AS text) IS NULL OR instance = $2)
        AND (CAST($3 AS text) IS NULL OR axis = $3)
        AND (CAST($4 AS bigint) IS NULL OR at_ms >= $4)
      ORDER BY seq DESC LIMIT $5"
);

/// What a router saw after an event of it, oldest first.
pub(crate) const HISTORY_AFTER: Sql = sql!(
    "SELECT seq, id, at_ms, axis, instance, slot, run, subject, from_state, to_state, reason, detail, router_id, epoch, sequence
        FROM " history
    " WHERE router_id = $1 AND (epoch, sequence) > (CAST($2 AS bigint), CAST($3 AS bigint))
      ORDER BY epoch, sequence LIMIT $4"
);

/// One batch of the history past its time.
pub(crate) const HISTORY_PURGE: Sql = sql!(
    "DELETE FROM " history " WHERE seq IN (SELECT seq FROM " history " WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)"
);

/// One batch of the history past its number of rows ($1), oldest first.
pub(crate) const HISTORY_TRIM: Sql = sql!(
    "DELETE FROM " history " WHERE seq IN (SELECT seq FROM " history
    " WHERE seq <= (SELECT max(seq) FROM " history ") - $1 ORDER BY seq LIMIT $2)"
);

/// Registers an instance unless there is one of this id.
pub(crate) const REGISTERED_INSERT: Sql = sql!(
    "INSERT INTO " registered_instance " (id, definition, at_ms, router_id, epoch) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (id) DO NOTHING"
);

/// One registered instance.
pub(crate) const REGISTERED_ONE: Sql =
    sql!("SELECT id, definition, at_ms FROM " registered_instance " WHERE id = $1");

/// Every registered instance.
pub(crate) const REGISTERED_ALL: Sql =
    sql!("SELECT id, definition, at_ms FROM " registered_instance " ORDER BY at_ms, id LIMIT $1");

/// Forgets a registered instance.
pub(crate) const REGISTERED_DELETE: Sql = sql!("DELETE FROM " registered_instance " WHERE id = $1");

/// What an operator decided. An older decision never undoes a newer one (a spool may be read twice): within one router,
/// lives are ordered by their epoch, and moments of one life by a clock that is never set back (see `RowOrigin`).
pub(crate) const INTENTION_SET: Sql = sql!(
    "INSERT INTO " instance_state " AS kept (instance, stopped, at_ms, router_id, epoch) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (instance) DO UPDATE SET stopped = excluded.stopped, at_ms = excluded.at_ms,
         router_id = excluded.router_id, epoch = excluded.epoch
     WHERE excluded.router_id <> kept.router_id OR excluded.epoch > kept.epoch
         OR (excluded.epoch = kept.epoch AND excluded.at_ms >= kept.at_ms)"
);

/// Every instance that an operator stopped.
pub(crate) const INTENTIONS: Sql = sql!(
    "SELECT instance, stopped, at_ms FROM " instance_state " WHERE stopped ORDER BY instance LIMIT $1"
);

/// Forgets an intention.
pub(crate) const STATE_DELETE: Sql = sql!("DELETE FROM " instance_state " WHERE instance = $1");

/// Crash evidence.
pub(crate) const CRASH_INSERT: Sql = sql!(
    "INSERT INTO " crash " (id, instance, at_ms, evidence, router_id, epoch) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (id) DO NOTHING"
);

/// Keeps only the latest evidence of an instance.
pub(crate) const CRASH_TRIM: Sql = sql!(
    "DELETE FROM " crash " WHERE instance = $1 AND seq NOT IN (SELECT seq FROM " crash
    " WHERE instance = $1 ORDER BY at_ms DESC, seq DESC LIMIT $2)"
);

/// The evidence of an instance, newest first.
pub(crate) const CRASHES: Sql = sql!(
    "SELECT seq, at_ms, evidence, router_id FROM " crash
    " WHERE instance = $1 ORDER BY at_ms DESC, seq DESC LIMIT $2"
);

/// Forgets the evidence of an instance up to a moment. Harmless to repeat: what came later stays, where lives of one router are
/// ordered by their epoch and everything else by its time.
pub(crate) const CRASH_CLEAR: Sql = sql!(
    "DELETE FROM " crash " WHERE instance = $1
        AND CASE WHEN router_id = $3 AND epoch <> $4 THEN epoch < $4 ELSE at_ms <= $2 END"
);

/// Forgets the evidence of an instance.
pub(crate) const CRASH_DELETE: Sql = sql!("DELETE FROM " crash " WHERE instance = $1");

/// One batch of evidence past its time.
pub(crate) const CRASH_PURGE: Sql = sql!(
    "DELETE FROM " crash " WHERE seq IN (SELECT seq FROM " crash " WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)"
);

/// A value of a plugin.
pub(crate) const VALUE_GET: Sql =
    sql!("SELECT value FROM " plugin_value " WHERE plugin = $1 AND key = $2");

/// Sets a value unless that would exceed the plugin's count ($5) or bytes ($6). Changes no row when it would.
pub(crate) const VALUE_PUT: Sql = Sql {
    postgres: "INSERT INTO godot_mcp_router.plugin_value (plugin, key, value, at_ms, router_id, epoch)
        SELECT CAST($1 AS text), CAST($2 AS text), CAST($3 AS bytea), CAST($4 AS bigint), CAST($7 AS text), CAST($8 AS bigint)
        FROM (SELECT count(*) AS keys, coalesce(sum(length(value)), 0) AS bytes
            FROM godot_mcp_router.plugin_value WHERE plugin = $1 AND key <> $2) AS others
        WHERE others.keys < $5 AND others.bytes + length(CAST($3 AS bytea)) <= $6
        ON CONFLICT (plugin, key) DO UPDATE SET value = excluded.value, at_ms = excluded.at_ms,
            router_id = excluded.router_id, epoch = excluded.epoch",
    sqlite: "INSERT INTO plugin_value (plugin, key, value, at_ms, router_id, epoch)
        SELECT $1, $2, $3, $4, $7, $8
        FROM (SELECT count(*) AS keys, coalesce(sum(length(value)), 0) AS bytes
            FROM plugin_value WHERE plugin = $1 AND key <> $2) AS others
        WHERE others.keys < $5 AND others.bytes + length($3) <= $6
        ON CONFLICT (plugin, key) DO UPDATE SET value = excluded.value, at_ms = excluded.at_ms,
            router_id = excluded.router_id, epoch = excluded.epoch",
};

/// Removes a value.
pub(crate) const VALUE_DELETE: Sql =
    sql!("DELETE FROM " plugin_value " WHERE plugin = $1 AND key = $2");

/// The keys of a plugin that begin with a text. Not `LIKE`: a key may hold its wildcards.
pub(crate) const VALUE_KEYS: Sql = sql!(
    "SELECT key FROM " plugin_value
    " WHERE plugin = $1 AND substr(key, 1, length(CAST($2 AS text))) = CAST($2 AS text) ORDER BY key LIMIT $3"
);

/// Minutes of load, as one JSON array. What is given takes the place of what is there: the router that writes them has read its
/// rows before.
pub(crate) const LOAD_MINUTES_PUT: Sql = Sql {
    postgres: "INSERT INTO godot_mcp_router.load_minute (router_id, epoch, at_ms, samples, running_sum, in_flight_sum,
            memory_bytes_sum, running_peak, in_flight_peak, memory_bytes_peak)
        SELECT CAST($1 AS text), CAST($2 AS bigint), at_ms, samples, running_sum, in_flight_sum,
            memory_bytes_sum, running_peak, in_flight_peak, memory_bytes_peak
        FROM json_to_recordset(CAST($3 AS json)) AS given (at_ms bigint, samples bigint, running_sum bigint,
            in_flight_sum bigint, memory_bytes_sum bigint, running_peak bigint, in_flight_peak bigint,
            memory_bytes_peak bigint)
        WHERE true
        ON CONFLICT (router_id, at_ms) DO UPDATE SET epoch = excluded.epoch, samples = excluded.samples,
            running_sum = excluded.running_sum, in_flight_sum = excluded.in_flight_sum,
            memory_bytes_sum = excluded.memory_bytes_sum, running_peak = excluded.running_peak,
            in_flight_peak = excluded.in_flight_peak, memory_bytes_peak = excluded.memory_bytes_peak",
    sqlite: "INSERT INTO load_minute (router_id, epoch, at_ms, samples, running_sum, in_flight_sum,
            memory_bytes_sum, running_peak, in_flight_peak, memory_bytes_peak)
        SELECT $1, $2, value ->> 'at_ms', value ->> 'samples', value ->> 'running_sum', value ->> 'in_flight_sum',
            value ->> 'memory_bytes_sum', value ->> 'running_peak', value ->> 'in_flight_peak',
            value ->> 'memory_bytes_peak'
        FROM json_each($3)
        WHERE true
        ON CONFLICT (router_id, at_ms) DO UPDATE SET epoch = excluded.epoch, samples = excluded.samples,
            running_sum = excluded.running_sum, in_flight_sum = excluded.in_flight_sum,
            memory_bytes_sum = excluded.memory_bytes_sum, running_peak = excluded.running_peak,
            in_flight_peak = excluded.in_flight_peak, memory_bytes_peak = excluded.memory_bytes_peak",
};

/// Hours of load from the minutes of a time. An hour some of whose minutes are gone is not made less than it was.
pub(crate) const LOAD_HOURS_PUT: Sql = sql!(
    "INSERT INTO " load_hour " AS kept (router_id, at_ms, epoch, samples, running_sum, in_flight_sum, memory_bytes_sum,
            running_peak, in_flight_peak, memory_bytes_peak)
        SELECT router_id, at_ms / 3600000 * 3600000, max(epoch), CAST(sum(samples) AS bigint),
            CAST(sum(running_sum) AS bigint), CAST(sum(in_flight_sum) AS bigint),
            CAST(sum(memory_bytes_sum) AS bigint), max(running_peak), max(in_flight_peak), max(memory_bytes_peak)
        FROM " load_minute " WHERE router_id = $1 AND at_ms >= $2 AND at_ms < $3 GROUP BY 1, 2
        ON CONFLICT (router_id, at_ms) DO UPDATE SET epoch = excluded.epoch, samples = excluded.samples,
            running_sum = excluded.running_sum, in_flight_sum = excluded.in_flight_sum,
            memory_bytes_sum = excluded.memory_bytes_sum, running_peak = excluded.running_peak,
            in_flight_peak = excluded.in_flight_peak, memory_bytes_peak = excluded.memory_bytes_peak
        WHERE excluded.samples >= kept.samples"
);

/// Deletes minutes past a router's number of rows ($3), those first that are furthest from now ($2): whichever way a clock was
/// wrong, it is the rows of that time that go. (SQLite has no OFFSET without a LIMIT.)
pub(crate) const LOAD_MINUTES_TRIM: Sql = sql!(
    "DELETE FROM " load_minute " WHERE router_id = $1 AND at_ms IN (SELECT at_ms FROM " load_minute
    " WHERE router_id = $1 ORDER BY abs(at_ms - $2) LIMIT 100000 OFFSET $3)"
);

/// The same for hours.
pub(crate) const LOAD_HOURS_TRIM: Sql = sql!(
    "DELETE FROM " load_hour " WHERE router_id = $1 AND at_ms IN (SELECT at_ms FROM " load_hour
    " WHERE router_id = $1 ORDER BY abs(at_ms - $2) LIMIT 100000 OFFSET $3)"
);

/// The minutes of a router that are nearest to now.
pub(crate) const LOAD_MINUTES: Sql = sql!(
    "SELECT at_ms, samples, running_sum, in_flight_sum, memory_bytes_sum, running_peak, in_flight_peak, memory_bytes_peak
        FROM " load_minute " WHERE router_id = $1 ORDER BY abs(at_ms - $2) LIMIT $3"
);

/// The days of a router that are nearest to now, from its hours.
pub(crate) const LOAD_DAYS: Sql = sql!(
    "SELECT at_ms / 86400000 * 86400000, CAST(sum(samples) AS bigint), CAST(sum(running_sum) AS bigint),
            CAST(sum(in_flight_sum) AS bigint), CAST(sum(memory_bytes_sum) AS bigint), max(running_peak),
            max(in_flight_peak), max(memory_bytes_peak)
        FROM " load_hour " WHERE router_id = $1 GROUP BY 1 ORDER BY min(abs(at_ms - $2)) LIMIT $3"
);

/// One batch of minutes of other routers that are older than $2 milliseconds, by the clock of the database: a router whose own is
/// wrong deletes nothing of the others.
pub(crate) const LOAD_MINUTES_PURGE: Sql = Sql {
    postgres: "DELETE FROM godot_mcp_router.load_minute WHERE (router_id, at_ms) IN (
        SELECT router_id, at_ms FROM godot_mcp_router.load_minute
        WHERE router_id <> $1 AND at_ms < CAST(extract(epoch FROM now()) * 1000 AS bigint) - $2 LIMIT $3)",
    sqlite: "DELETE FROM load_minute WHERE (router_id, at_ms) IN (
        SELECT router_id, at_ms FROM load_minute WHERE router_id <> $1 AND at_ms < unixepoch() * 1000 - $2 LIMIT $3)",
};

/// The same for hours.
pub(crate) const LOAD_HOURS_PURGE: Sql = Sql {
    postgres: "DELETE FROM godot_mcp_router.load_hour WHERE (router_id, at_ms) IN (
        SELECT router_id, at_ms FROM godot_mcp_router.load_hour
        WHERE router_id <> $1 AND at_ms < CAST(extract(epoch FROM now()) * 1000 AS bigint) - $2 LIMIT $3)",
    sqlite: "DELETE FROM load_hour WHERE (router_id, at_ms) IN (
        SELECT router_id, at_ms FROM load_hour WHERE router_id <> $1 AND at_ms < unixepoch() * 1000 - $2 LIMIT $3)",
};

/// All of the above, for the test that prepares them.
#[cfg(test)]
pub(crate) const ALL: &[Sql] = &[
    SCHEMA_READ,
    ROUTER_SEEN,
    SERVER_CONNECTIONS,
    AUDIT_INSERT,
    AUDIT_PAGE,
    AUDIT_PURGE,
    HISTORY_INSERT,
    HISTORY_PAGE,
    HISTORY_AFTER,
    HISTORY_PURGE,
    HISTORY_TRIM,
    REGISTERED_INSERT,
    REGISTERED_ONE,
    REGISTERED_ALL,
    REGISTERED_DELETE,
    INTENTION_SET,
    INTENTIONS,
    STATE_DELETE,
    CRASH_INSERT,
    CRASH_TRIM,
    CRASHES,
    CRASH_CLEAR,
    CRASH_DELETE,
    CRASH_PURGE,
    VALUE_GET,
    VALUE_PUT,
    VALUE_DELETE,
    VALUE_KEYS,
    LOAD_MINUTES_PUT,
    LOAD_HOURS_PUT,
    LOAD_MINUTES_TRIM,
    LOAD_HOURS_TRIM,
    LOAD_MINUTES,
    LOAD_DAYS,
    LOAD_MINUTES_PURGE,
    LOAD_HOURS_PURGE,
];
