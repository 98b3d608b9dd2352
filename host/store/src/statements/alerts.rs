//! Statements about alerts and their deliveries.

use crate::sql::{Sql, sql};

/// Many rows of alerts at once, as one JSON array in which no row comes twice. A row that is there is brought up to date, unless it is
/// a later one: lives of a router are ordered by their epoch, and what one life wrote by its number.
pub(crate) const ALERTS_PUT: Sql = Sql {
    postgres: "INSERT INTO godot_mcp_router.alert AS kept
            (router_id, alert, firing, key, rule, name, severity, instance, summary, remedy, runbook, attributes, state,
            since_ms, fired_ms, acknowledged_by, acknowledged_ms, resolved_ms, resolved_because, story, at_ms, epoch,
            sequence)
        SELECT router_id, alert, firing, key, rule, name, severity, instance, summary, remedy, runbook, attributes, state,
            since_ms, fired_ms, acknowledged_by, acknowledged_ms, resolved_ms, resolved_because, story, at_ms, epoch,
            sequence
        FROM ROWS FROM (json_to_recordset(CAST($1 AS json)) AS (router_id text, alert text, firing bigint, key text, rule text, name text, severity text, instance text,
            summary text, remedy text, runbook text, attributes text, state text, since_ms bigint, fired_ms bigint,
            acknowledged_by text, acknowledged_ms bigint, resolved_ms bigint, resolved_because text, story text,
            at_ms bigint, epoch bigint, sequence bigint))
            WITH ORDINALITY AS r (router_id, alert, firing, key, rule, name, severity, instance, summary, remedy, runbook, attributes, state,
            since_ms, fired_ms, acknowledged_by, acknowledged_ms, resolved_ms, resolved_because, story, at_ms, epoch,
            sequence, n)
        ORDER BY n
        ON CONFLICT (router_id, alert, firing) DO UPDATE SET rule = excluded.rule, name = excluded.name, severity = excluded.severity, instance = excluded.instance,
            summary = excluded.summary, remedy = excluded.remedy, runbook = excluded.runbook,
            attributes = excluded.attributes, state = excluded.state, since_ms = excluded.since_ms,
            fired_ms = excluded.fired_ms, acknowledged_by = excluded.acknowledged_by,
            acknowledged_ms = excluded.acknowledged_ms, resolved_ms = excluded.resolved_ms,
            resolved_because = excluded.resolved_because, story = excluded.story, at_ms = excluded.at_ms,
            epoch = excluded.epoch, sequence = excluded.sequence
        WHERE (excluded.epoch, excluded.sequence) >= (kept.epoch, kept.sequence)",
    sqlite: "INSERT INTO alert AS kept
            (router_id, alert, firing, key, rule, name, severity, instance, summary, remedy, runbook, attributes, state,
            since_ms, fired_ms, acknowledged_by, acknowledged_ms, resolved_ms, resolved_because, story, at_ms, epoch,
            sequence)
        SELECT value ->> 'router_id', value ->> 'alert', value ->> 'firing', value ->> 'key', value ->> 'rule',
            value ->> 'name', value ->> 'severity', value ->> 'instance', value ->> 'summary', value ->> 'remedy',
            value ->> 'runbook', value ->> 'attributes', value ->> 'state', value ->> 'since_ms', value ->> 'fired_ms',
            value ->> 'acknowledged_by', value ->> 'acknowledged_ms', value ->> 'resolved_ms', value ->> 'resolved_because',
            value ->> 'story', value ->> 'at_ms', value ->> 'epoch', value ->> 'sequence'
        FROM json_each($1) WHERE true ORDER BY key
        ON CONFLICT (router_id, alert, firing) DO UPDATE SET rule = excluded.rule, name = excluded.name, severity = excluded.severity, instance = excluded.instance,
            summary = excluded.summary, remedy = excluded.remedy, runbook = excluded.runbook,
            attributes = excluded.attributes, state = excluded.state, since_ms = excluded.since_ms,
            fired_ms = excluded.fired_ms, acknowledged_by = excluded.acknowledged_by,
            acknowledged_ms = excluded.acknowledged_ms, resolved_ms = excluded.resolved_ms,
            resolved_because = excluded.resolved_because, story = excluded.story, at_ms = excluded.at_ms,
            epoch = excluded.epoch, sequence = excluded.sequence
        WHERE (excluded.epoch, excluded.sequence) >= (kept.epoch, kept.sequence)",
};

/// A page of what is over, the latest first.
pub(crate) const ALERTS_PAGE: Sql = sql!(
    "SELECT seq, router_id, alert, firing, key, rule, name, severity, instance, summary, remedy, runbook, attributes, state,
        since_ms, fired_ms, acknowledged_by, acknowledged_ms, resolved_ms, resolved_because, story, at_ms, epoch, sequence FROM " alert
    " WHERE state = 'resolved'
        AND (CAST($1 AS bigint) IS NULL OR seq < $1)
        AND (CAST($2 AS text) IS NULL OR severity = $2)
        AND (CAST($3 AS text) IS NULL OR instance = $3)
      ORDER BY seq DESC LIMIT $4"
);

/// How many there are.
pub(crate) const ALERTS_COUNT: Sql = sql!(
    "SELECT count(*) FROM " alert
    " WHERE state = 'resolved'
        AND (CAST($1 AS text) IS NULL OR severity = $1)
        AND (CAST($2 AS text) IS NULL OR instance = $2)"
);

/// One firing of an alert, or its last one, of this router ($1) before others.
pub(crate) const ALERT_ONE: Sql = sql!(
    "SELECT seq, router_id, alert, firing, key, rule, name, severity, instance, summary, remedy, runbook, attributes, state,
        since_ms, fired_ms, acknowledged_by, acknowledged_ms, resolved_ms, resolved_because, story, at_ms, epoch, sequence FROM " alert
    " WHERE alert = $2 AND (CAST($3 AS bigint) IS NULL OR firing = $3)
      ORDER BY CASE WHEN router_id = $1 THEN 0 ELSE 1 END, firing DESC LIMIT 1"
);

/// The highest number of a firing that any router has given: an alert's id, and so what receivers know it by, is the same on all.
pub(crate) const ALERTS_FIRING_MAX: Sql = sql!("SELECT coalesce(max(firing), 0) FROM " alert);

/// One batch of alerts past their time.
pub(crate) const ALERTS_PURGE: Sql = sql!(
    "DELETE FROM " alert " WHERE seq IN (SELECT seq FROM " alert " WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)"
);

/// One batch of alerts past their number of rows ($1), oldest first. Numbers have gaps: a row that is brought up to date takes one.
pub(crate) const ALERTS_TRIM: Sql = sql!(
    "DELETE FROM " alert " WHERE seq IN (SELECT seq FROM " alert
    " WHERE seq <= (SELECT seq FROM " alert " ORDER BY seq DESC LIMIT 1 OFFSET $1) ORDER BY seq LIMIT $2)"
);

/// Many rows of deliveries at once, as [`ALERTS_PUT`]. What a later row does not say stays.
pub(crate) const DELIVERIES_PUT: Sql = Sql {
    postgres: "INSERT INTO godot_mcp_router.delivery AS kept
            (router_id, id, alert, firing, step, sink, route, occasion, severity, decided_ms, outcome, attempts,
            first_attempt_ms, last_attempt_ms, answer, at_ms, epoch, sequence)
        SELECT router_id, id, alert, firing, step, sink, route, occasion, severity, decided_ms, outcome, attempts,
            first_attempt_ms, last_attempt_ms, answer, at_ms, epoch, sequence
        FROM ROWS FROM (json_to_recordset(CAST($1 AS json)) AS (router_id text, id text, alert text, firing bigint, step bigint, sink text, route text, occasion text,
            severity text, decided_ms bigint, outcome text, attempts bigint, first_attempt_ms bigint,
            last_attempt_ms bigint, answer text, at_ms bigint, epoch bigint, sequence bigint))
            WITH ORDINALITY AS r (router_id, id, alert, firing, step, sink, route, occasion, severity, decided_ms, outcome, attempts,
            first_attempt_ms, last_attempt_ms, answer, at_ms, epoch, sequence, n)
        ORDER BY n
        ON CONFLICT (router_id, id) DO UPDATE SET outcome = excluded.outcome,
            attempts = CASE WHEN excluded.attempts > kept.attempts THEN excluded.attempts ELSE kept.attempts END,
            first_attempt_ms = coalesce(kept.first_attempt_ms, excluded.first_attempt_ms),
            last_attempt_ms = coalesce(excluded.last_attempt_ms, kept.last_attempt_ms),
            answer = CASE WHEN excluded.answer = '' THEN kept.answer ELSE excluded.answer END, at_ms = excluded.at_ms,
            epoch = excluded.epoch, sequence = excluded.sequence
        WHERE (excluded.epoch, excluded.sequence) >= (kept.epoch, kept.sequence)",
    sqlite: "INSERT INTO delivery AS kept
            (router_id, id, alert, firing, step, sink, route, occasion, severity, decided_ms, outcome, attempts,
            first_attempt_ms, last_attempt_ms, answer, at_ms, epoch, sequence)
        SELECT value ->> 'router_id', value ->> 'id', value ->> 'alert', value ->> 'firing', value ->> 'step',
            value ->> 'sink', value ->> 'route', value ->> 'occasion', value ->> 'severity', value ->> 'decided_ms',
            value ->> 'outcome', value ->> 'attempts', value ->> 'first_attempt_ms', value ->> 'last_attempt_ms',
            value ->> 'answer', value ->> 'at_ms', value ->> 'epoch', value ->> 'sequence'
        FROM json_each($1) WHERE true ORDER BY key
        ON CONFLICT (router_id, id) DO UPDATE SET outcome = excluded.outcome,
            attempts = CASE WHEN excluded.attempts > kept.attempts THEN excluded.attempts ELSE kept.attempts END,
            first_attempt_ms = coalesce(kept.first_attempt_ms, excluded.first_attempt_ms),
            last_attempt_ms = coalesce(excluded.last_attempt_ms, kept.last_attempt_ms),
            answer = CASE WHEN excluded.answer = '' THEN kept.answer ELSE excluded.answer END, at_ms = excluded.at_ms,
            epoch = excluded.epoch, sequence = excluded.sequence
        WHERE (excluded.epoch, excluded.sequence) >= (kept.epoch, kept.sequence)",
};

/// Deliveries of this router ($1) by their ids, a JSON array ($2), and those of a firing ($4) of an alert ($3).
pub(crate) const DELIVERIES_OF: Sql = Sql {
    postgres: "SELECT router_id, id, alert, firing, step, sink, route, occasion, severity, decided_ms, outcome, attempts,
        first_attempt_ms, last_attempt_ms, answer, at_ms, epoch, sequence FROM godot_mcp_router.delivery
        WHERE router_id = $1 AND (id IN (SELECT json_array_elements_text(CAST($2 AS json))) OR (alert = $3 AND firing = $4))
        ORDER BY seq LIMIT 1000",
    sqlite: "SELECT router_id, id, alert, firing, step, sink, route, occasion, severity, decided_ms, outcome, attempts,
        first_attempt_ms, last_attempt_ms, answer, at_ms, epoch, sequence FROM delivery
        WHERE router_id = $1 AND (id IN (SELECT value FROM json_each($2)) OR (alert = $3 AND firing = $4))
        ORDER BY seq LIMIT 1000",
};

/// One batch of deliveries past their time.
pub(crate) const DELIVERIES_PURGE: Sql = sql!(
    "DELETE FROM " delivery " WHERE seq IN (SELECT seq FROM " delivery " WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)"
);

/// One batch of deliveries past their number of rows ($1), oldest first.
pub(crate) const DELIVERIES_TRIM: Sql = sql!(
    "DELETE FROM " delivery " WHERE seq IN (SELECT seq FROM " delivery
    " WHERE seq <= (SELECT seq FROM " delivery " ORDER BY seq DESC LIMIT 1 OFFSET $1) ORDER BY seq LIMIT $2)"
);

/// All of the above, for the test that prepares them.
#[cfg(test)]
pub(crate) const ALL: &[Sql] = &[
    ALERTS_PUT,
    ALERTS_PAGE,
    ALERTS_COUNT,
    ALERT_ONE,
    ALERTS_FIRING_MAX,
    ALERTS_PURGE,
    ALERTS_TRIM,
    DELIVERIES_PUT,
    DELIVERIES_OF,
    DELIVERIES_PURGE,
    DELIVERIES_TRIM,
];
