//! Every alert that this rule knows: its name, how soon somebody has to act (the runbook's table), how long its condition must hold,
//! what to do, and where the runbook speaks of it.

use router_plugin_sdk::alert_rule::Severity;

/// One kind of alert.
pub(crate) struct Alert {
    /// Its name, which also names its keys of the configuration: `severity.NAME` and `for_ms.NAME`.
    pub(crate) name: &'static str,
    pub(crate) severity: Severity,
    pub(crate) for_ms: u64,
    /// A heading of `docs/runbook.md`.
    pub(crate) anchor: &'static str,
    /// `{}` stands for the instance.
    pub(crate) remedy: &'static str,
}

macro_rules! catalogue {
    ($($alert:ident = $name:literal, $severity:ident after $for_ms:literal ms, $anchor:literal: $remedy:literal;)*) => {
        $(pub(crate) const $alert: Alert = Alert {
            name: $name,
            severity: Severity::$severity,
            for_ms: $for_ms,
            anchor: $anchor,
            remedy: $remedy,
        };)*

        /// All of them.
        pub(crate) const CATALOGUE: &[Alert] = &[$($alert,)*];
    };
}

catalogue! {
    // What concerns the whole fleet.
    ALL_INSTANCES_FAILING = "AllInstancesFailing", P1 after 10_000 ms, "p1-down":
        "See `GET /api/health/readiness` for the reason and `GET /api/health/mcp` for each instance. Look for what they share: disk, memory, network, a service behind them. If the router itself is at fault, restart it: instances keep running and are taken over.";
    BREAKERS_OPENED_TOGETHER = "BreakersOpenedTogether", P2 after 0 ms, "circuit-breaker-open":
        "The instances share a cause: look for a network, a disk or a service behind them that failed, and repair that. The breakers then close by themselves.";
    HIGH_ERROR_RATE = "HighErrorRate", P2 after 30_000 ms, "p2-many-errors":
        "`godot-mcp-router instances` and `mcp_errors_total` by kind say where the errors come from; TIMEOUT and VALIDATION in the log say why.";
    SLOW_REQUESTS = "SlowRequests", P3 after 60_000 ms, "p3-slow":
        "See which instances are slow in `GET /api/health/mcp`, and whether processor, memory or the database is short.";

    // What concerns one instance.
    INSTANCE_CRASH_LOOP = "InstanceCrashLoop", P2 after 0 ms, "crash-loop":
        "Read why it ends: `GET /api/instances/{}/crashes` and `/logs`. Repair the cause, then `POST /api/instances/{}/restart`; `DELETE /api/instances/{}/state` forgets what was kept of it.";
    INSTANCE_UNHEALTHY = "InstanceUnhealthy", P3 after 60_000 ms, "an-instance-does-not-answer":
        "`GET /api/instances/{}` says why, and what happens next. If it does not recover, `POST /api/instances/{}/restart`.";
    INSTANCE_ERRORS = "InstanceErrors", P2 after 30_000 ms, "p2-many-errors":
        "See the errors in `GET /api/instances/{}` and its log in `/logs`; if they came with a deployment, take it back.";
    INSTANCE_SLOW = "InstanceSlow", P3 after 60_000 ms, "p3-slow":
        "See its figures in `GET /api/instances/{}`; look whether it is short of processor or memory, or waits for the database.";
    INSTANCE_RESTARTS = "InstanceRestarts", P3 after 0 ms, "crash-loop":
        "Read why it ends: `GET /api/instances/{}/crashes` and `/logs`, before it is taken for a crash loop.";
    INSTANCE_BREAKER = "InstanceBreaker", P3 after 0 ms, "circuit-breaker-open":
        "`GET /api/instances/{}` says what its breaker counted. Repair the cause; the breaker then closes by itself.";
    INSTANCE_SILENT = "InstanceSilent", P2 after 0 ms, "an-instance-does-not-answer":
        "It runs and answers nothing, not even a ping. See its log in `GET /api/instances/{}/logs`, then `POST /api/instances/{}/restart`.";
    INSTANCE_MEMORY = "InstanceMemory", P3 after 60_000 ms, "much-memory":
        "`POST /api/instances/{}/restart` frees it at once; then look for the leak, or raise `max_memory_mb` of its template.";

    // What concerns what the router stands on.
    DATABASE_LOST = "DatabaseLost", P2 after 10_000 ms, "database":
        "Requests go on and nothing is lost meanwhile. Look whether the database runs and is reached: `psql $DATABASE_URL -c 'SELECT 1'`.";
    POOL_NEARLY_FULL = "PoolNearlyFull", P3 after 30_000 ms, "database":
        "Look for long queries in pg_stat_activity and end them, or raise DATABASE_POOL_SIZE.";
    MANY_CONNECTIONS = "ManyConnections", P3 after 60_000 ms, "database":
        "Look in pg_stat_activity whose connections they are (application_name), and whether one leaks them.";
    DISK_NEARLY_FULL = "DiskNearlyFull", P3 after 60_000 ms, "a-disk-fills":
        "Find what fills it (`du -x -h -d 2`), and free it, or give `data_dir` and the logs a larger one.";
    CAPACITY_NEARLY_USED = "CapacityNearlyUsed", P3 after 60_000 ms, "scaling-and-capacity":
        "`godot-mcp-router capacity` says what is used and needed. Stop what is not needed, add a server, or raise the limit of the capacity policy.";
    CAPACITY_FORECAST = "CapacityForecast", P4 after 0 ms, "scaling-and-capacity":
        "`godot-mcp-router capacity` shows the forecast and what it is reckoned from. Plan for more before that day.";

    // What concerns plugins and sinks.
    PLUGIN_DOWN = "PluginDown", P3 after 0 ms, "a-plugin-does-not-load":
        "A built-in rule answers in its place, or nothing does. `godot-mcp-router plugin list` says why; a new file, or the one before, ends it.";
    ALERTING_PLUGIN_DOWN = "AlertingPluginDown", P2 after 0 ms, "a-plugin-does-not-load":
        "What it looks after is not watched, or not delivered. `godot-mcp-router plugin list` says why; a new file, or the one before, ends it.";
    PLUGIN_REFUSES_SETTINGS = "PluginRefusesSettings", P3 after 0 ms, "a-plugin-does-not-load":
        "The settings before hold on. Correct what the reason names in `[plugins.config]`, then `POST /api/config/reload`.";
    PLUGIN_HELD = "PluginHeld", P3 after 0 ms, "a-generation-is-held":
        "It would take away more than half of what serves, so the generation before goes on. `GET /api/plugins` shows what would change (`trial`); then `godot-mcp-router plugin confirm` or `reject` it.";
    DELIVERY_FAILING = "DeliveryFailing", P2 after 0 ms, "escalation":
        "Alerts do not reach this sink: they are tried again, and go to its fallback where it has one. Look whether its receiver is reached; until then page people by other means.";
    SINK_GONE = "SinkGone", P2 after 0 ms, "escalation":
        "Its receiver takes nothing any more: the address or the secret is withdrawn. Set a new one for `[sink]`, then `POST /api/config/reload`.";
    DEAD_LETTERS = "DeadLetters", P3 after 0 ms, "escalation":
        "The receiver refused these deliveries for what is in them, so they are not tried again by themselves. Read why, and try them again once that is repaired.";
    TOO_MANY_CONDITIONS = "TooManyConditions", P2 after 0 ms, "p1-down":
        "More is wrong than one answer of a rule may name; the most severe is named. See `GET /api/health/mcp` for the rest, and look for what the conditions share.";
}
