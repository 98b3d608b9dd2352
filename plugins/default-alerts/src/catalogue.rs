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
    /// `{}` stands for the instance, plugin or sink that it is about.
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
        "`GET /api/health/mcp` says of each instance why. Look for what they share: a disk, memory, the network, a service behind them. Once that is repaired, `POST /api/instances/ID/restart` for each that is in a crash loop; the others come back by themselves. If the router itself is at fault, restart it: instances that run are taken over.";
    BREAKERS_OPENED_TOGETHER = "BreakersOpenedTogether", P2 after 0 ms, "circuit-breaker-open":
        "They share a cause: look for a network, a disk or a service behind them that failed, and repair that. Each breaker then closes by itself with the next two good answers.";
    HIGH_ERROR_RATE = "HighErrorRate", P2 after 30_000 ms, "p2-many-errors":
        "`GET /api/health/mcp` has `errorRate` by instance, and `mcp_errors_total` the kind: `timeout` and `socket` are an instance's (read its log, restart it), `spawn` is one that does not start, `upstream` an answer of its own. TIMEOUT in the log says which request. It ends when the last 5 min are below the limit.";
    SLOW_REQUESTS = "SlowRequests", P3 after 60_000 ms, "p3-slow":
        "`GET /api/health/mcp` has `p95Ms` and `inFlight` by instance. If one is slow, read its log, and restart it; if all are, the machine is short of processor or memory (`top`). No request waits for the database. It ends when the last 5 min are below the limit.";

    // What concerns one instance.
    INSTANCE_CRASH_LOOP = "InstanceCrashLoop", P2 after 0 ms, "crash-loop":
        "Read why it ends: `GET /api/instances/{}/crashes` and `GET /api/instances/{}/logs?tail=50`. Repair the cause, then `POST /api/instances/{}/restart`: by itself it is tried again only every 10 min.";
    INSTANCE_UNHEALTHY = "InstanceUnhealthy", P3 after 60_000 ms, "an-instance-does-not-answer":
        "`GET /api/instances/{}` says why, and what happens next. If it does not recover, `POST /api/instances/{}/restart`.";
    INSTANCE_ERRORS = "InstanceErrors", P2 after 30_000 ms, "p2-many-errors":
        "`GET /api/instances/{}/logs?tail=50`, and TIMEOUT in the router's log, say why. If it hangs, `POST /api/instances/{}/restart`; if its calls rightly take long, raise `request_timeout` of its template and reload; if it came with a deployment, take that back. It ends when the last 5 min are below the limit.";
    INSTANCE_SLOW = "InstanceSlow", P3 after 60_000 ms, "p3-slow":
        "`GET /api/instances/{}` has `p95Ms`, `inFlight` and `memoryMb`. Look whether it is short of processor or memory, or what its tools wait for; if it has leaked, `POST /api/instances/{}/restart`. It ends when the last 5 min are below the limit.";
    INSTANCE_RESTARTS = "InstanceRestarts", P3 after 0 ms, "crash-loop":
        "Read why it ends: `GET /api/instances/{}/crashes` and `GET /api/instances/{}/logs?tail=50`, before it is taken for a crash loop. Once that is repaired this ends 5 min after the last restart; `DELETE /api/instances/{}/state` forgets them at once.";
    INSTANCE_BREAKER = "InstanceBreaker", P3 after 0 ms, "circuit-breaker-open":
        "`circuitBreaker` of `GET /api/instances/{}` says why it opened. Repair that, or `POST /api/instances/{}/restart`; two good answers then close it. This ends once it has stayed CLOSED for `breaker.reset_after`, or at once with `POST /api/instances/{}/breaker/reset`.";
    INSTANCE_SILENT = "InstanceSilent", P2 after 0 ms, "an-instance-does-not-answer":
        "It runs and answers nothing, not even a ping. Read its last words in `GET /api/instances/{}/logs?tail=50`, then `POST /api/instances/{}/restart`.";
    INSTANCE_MEMORY = "InstanceMemory", P3 after 60_000 ms, "much-memory":
        "`POST /api/instances/{}/restart` frees it at once; then look for the leak. If it rightly needs as much, raise `max_memory_mb` of its template (or `memory_mb` of `default-alerts`, where it has none) and reload.";

    // What concerns what the router stands on.
    DATABASE_LOST = "DatabaseLost", P2 after 10_000 ms, "database":
        "Requests go on, and what is to be written waits on disk. Repair what the reason names: `psql $DATABASE_URL -c 'SELECT 1'` says whether the database runs and lets you in; for SQLite look at its file and its disk. The router connects again by itself.";
    POOL_NEARLY_FULL = "PoolNearlyFull", P3 after 30_000 ms, "database":
        "No request waits for it; audit and history do. Find what its statements wait for in `pg_stat_activity`, and end that (`pg_terminate_backend`). If it is merely busy, raise `storage.pool_size` (DATABASE_POOL_SIZE) and restart the router: instances keep running.";
    MANY_CONNECTIONS = "ManyConnections", P3 after 60_000 ms, "database":
        "`application_name` in `pg_stat_activity` says whose they are; the router's own are at most `storage.pool_size`. End those that leak (`pg_terminate_backend`), and have their program repaired. If all are needed, raise `connections` of `default-alerts` and reload.";
    DISK_NEARLY_FULL = "DiskNearlyFull", P3 after 60_000 ms, "a-disk-fills":
        "Find what fills it (`du -x -h -d 2 / | sort -h | tail`) and free it; or give `server.data_dir` and `logging.dir` a larger one, and restart the router.";
    CAPACITY_NEARLY_USED = "CapacityNearlyUsed", P3 after 60_000 ms, "scaling-and-capacity":
        "`godot-mcp-router capacity` says what is used and needed. Stop what is not needed, add a server, or raise the limit of the capacity policy.";
    CAPACITY_FORECAST = "CapacityForecast", P4 after 0 ms, "scaling-and-capacity":
        "`godot-mcp-router capacity` shows the forecast and what it is reckoned from. Plan for more before that day.";

    // What concerns plugins and sinks.
    PLUGIN_DOWN = "PluginDown", P3 after 0 ms, "a-plugin-does-not-load":
        "The built-in rule answers in its place. `godot-mcp-router plugin list` says why. Put a corrected file, or the one before, into the plugins' folder: it is loaded within seconds.";
    ALERTING_PLUGIN_DOWN = "AlertingPluginDown", P2 after 0 ms, "a-plugin-does-not-load":
        "What it looks after is not watched, or not delivered. `godot-mcp-router plugin list` says why. Put a corrected file, or the one before, into the plugins' folder: it is loaded within seconds.";
    PLUGIN_REFUSES_SETTINGS = "PluginRefusesSettings", P3 after 0 ms, "a-plugin-does-not-load":
        "The settings before hold on. Correct what the reason names, in `[plugins.config.NAME]` or in `config` of `[sink.NAME]`, then `POST /api/config/reload`.";
    PLUGIN_HELD = "PluginHeld", P3 after 0 ms, "a-generation-is-held":
        "It would take away more than half of what serves, so the generation before goes on, and nothing is urgent. `GET /api/plugins/{}` shows what would change (`trial`); then `godot-mcp-router plugin confirm {}` or `godot-mcp-router plugin reject {}`.";
    DELIVERY_FAILING = "DeliveryFailing", P2 after 0 ms, "alerts-do-not-arrive":
        "What is to go there waits and is tried again for a day; it goes to the sink's `fallback` where there is one. `godot-mcp-router deliveries` shows what its receiver answers, and `godot-mcp-router alerts test --sink {}` whether it arrives again. Until then tell people by other means.";
    SINK_GONE = "SinkGone", P2 after 0 ms, "alerts-do-not-arrive":
        "Its receiver says that the address or the key is withdrawn. Make a new one there. If `[sink.{}]` has it from a file, write that and `POST /api/config/reload`; if from a variable, set that and restart the router: instances keep running. `godot-mcp-router alerts test --sink {}` says whether it arrives.";
    DEAD_LETTERS = "DeadLetters", P3 after 0 ms, "alerts-do-not-arrive":
        "Its receiver refused them for what is in them, so they are not tried again by themselves. `godot-mcp-router deliveries` shows each with the receiver's words; once that is repaired, `godot-mcp-router deliveries retry ID` sends one again.";
    TOO_MANY_CONDITIONS = "TooManyConditions", P2 after 0 ms, "p1-down":
        "More is wrong than one answer of a rule may name; the most severe is named. See `GET /api/health/mcp` for the rest, and look for what the conditions share.";
}
