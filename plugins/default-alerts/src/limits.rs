//! The thresholds: a key of `[plugins.config.default-alerts]` each, with its default and its bounds. What is above one is a condition.

use router_plugin_sdk::Settings;

macro_rules! limits {
    ($($(#[$documented:meta])* $key:ident: $default:literal, $least:literal to $most:literal;)*) => {
        /// Every threshold, where the configuration sets it or at its default.
        pub(crate) struct Limits {
            $($(#[$documented])* pub(crate) $key: f64,)*
        }

        /// Name, default, least and most of each.
        pub(crate) const LIMITS: &[(&str, f64, f64, f64)] =
            &[$((stringify!($key), $default, $least, $most),)*];

        impl Limits {
            pub(crate) fn of(settings: &Settings) -> Self {
                let or = |key: &str, default: f64| settings.number(key).unwrap_or(default);
                Self { $($key: or(stringify!($key), $default),)* }
            }
        }
    };
}

limits! {
    /// Share of the wanted instances that cannot serve; at it, not above it.
    failing_share: 1.0, 0.01 to 1.0;
    /// Share of the breakers that opened together.
    together_share: 0.5, 0.0 to 1.0;
    /// Fewer breakers than this together are a coincidence; at it, not below it.
    together_min: 3.0, 1.0 to 1e6;
    /// Share of errors over 5 minutes, of an instance and of all.
    errors_share: 0.05, 0.0 to 1.0;
    /// 95th percentile of the duration of requests over 5 minutes, of an instance and of all.
    p95_ms: 200.0, 1.0 to 3.6e6;
    /// Starts after a failure over 5 minutes.
    restarts: 5.0, 0.0 to 1e4;
    /// Openings of a breaker in a row.
    breaker_openings: 2.0, 0.0 to 1e4;
    /// Time without any answer of an instance that runs.
    heartbeat_ms: 30_000.0, 1_000.0 to 8.64e7;
    /// Memory of an instance whose template sets no `max_memory_mb`.
    memory_mb: 500.0, 1.0 to 1e9;
    /// Memory of an instance as a share of its `max_memory_mb`.
    memory_share: 0.8, 0.01 to 1.0;
    /// Share of the database's connection pool in use.
    pool_share: 0.8, 0.01 to 1.0;
    /// Connections to the database, by its own count.
    connections: 25.0, 1.0 to 1e6;
    /// Share of a disk in use.
    disk_share: 0.8, 0.01 to 1.0;
    /// Share of a limit of the capacity plan in use.
    capacity_share: 0.8, 0.01 to 1.0;
    /// A limit that will be reached within so many days; at it, not above it.
    forecast_days: 7.0, 0.0 to 400.0;
    /// Time since when no delivery of a sink succeeds.
    delivery_ms: 60_000.0, 0.0 to 8.64e7;
    /// Deliveries among a sink's dead letters.
    dead_letters: 0.0, 0.0 to 1e6;
}
