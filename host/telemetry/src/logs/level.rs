//! From the operator's filter to what `tracing` filters by.

use router_values::{FilterLevel, LogFilter};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// Libraries whose info and debug lines are about themselves. They stay at warnings unless the filter names them.
const QUIET: [&str; 12] = [
    "cranelift",
    "h2",
    "hyper",
    "mio",
    "notify",
    "regalloc",
    "reqwest",
    "rustls",
    "sqlx",
    "tower",
    "wasmtime",
    "want",
];

/// The target of `AUDIT` lines. They are a record, not diagnostics: `[audit] enabled` switches them, and no level does.
const AUDIT: &str = "audit";

/// The targets that a filter lets through.
pub(super) fn targets(filter: &LogFilter) -> Targets {
    let default = level(filter.default_level());
    let named = filter.targets().iter();
    let named = named.map(|(target, of_target)| (target.clone(), level(*of_target)));
    // Of two levels for one target the later takes precedence.
    Targets::new()
        .with_default(default)
        .with_targets(QUIET.map(|target| (target.to_owned(), default.min(LevelFilter::WARN))))
        .with_targets(named)
        .with_target(AUDIT, LevelFilter::INFO)
}

fn level(level: FilterLevel) -> LevelFilter {
    match level {
        FilterLevel::Off => LevelFilter::OFF,
        FilterLevel::Error => LevelFilter::ERROR,
        FilterLevel::Warn => LevelFilter::WARN,
        FilterLevel::Info => LevelFilter::INFO,
        FilterLevel::Debug => LevelFilter::DEBUG,
        FilterLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use router_values::LogFilter;
    use tracing::Level;

    use super::targets;

    #[test]
    fn levels_apply_to_their_targets() {
        let cases = [
            ("info", "router_proxy", Level::INFO, true),
            ("INFO", "router_proxy", Level::DEBUG, false),
            (" warning ", "router_proxy", Level::INFO, false),
            ("off", "router_proxy", Level::ERROR, false),
            ("debug", "sqlx::query", Level::INFO, false),
            ("debug", "sqlx::query", Level::WARN, true),
            ("error", "sqlx::query", Level::WARN, false),
            ("debug,sqlx=debug", "sqlx::query", Level::DEBUG, true),
            (
                "info,router_proxy=trace",
                "router_proxy::post",
                Level::TRACE,
                true,
            ),
            (
                "info,router_proxy=trace",
                "router_admin",
                Level::DEBUG,
                false,
            ),
            ("router_proxy=debug", "router_admin", Level::INFO, true),
            ("warn", "audit", Level::INFO, true),
            ("error", "audit", Level::INFO, true),
            ("off", "audit", Level::INFO, true),
            ("off,audit=off,a=off", "audit", Level::INFO, true),
            ("off", "router_store::store", Level::ERROR, false),
        ];
        for (text, target, level, expected) in cases {
            let targets = targets(&LogFilter::parse(text).unwrap());
            assert_eq!(
                targets.would_enable(target, &level),
                expected,
                "{text} for {target} at {level}"
            );
        }
    }
}
