//! Levels as an operator writes them. Strict, since a misspelt level must not silence the log.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use super::LogError;

/// Libraries whose info and debug lines are about themselves. They stay at warnings unless a directive names them.
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

/// Reads `LEVEL`, or `LEVEL,target=LEVEL,…`, in any case.
pub(super) fn parse(text: &str) -> Result<Targets, LogError> {
    let refused = || LogError::Level {
        text: text.chars().take(200).collect(),
    };
    let mut default = None;
    let mut named = Vec::new();
    for part in text.split(',') {
        match part.trim().split_once('=') {
            None if default.is_none() => default = Some(level(part).ok_or_else(refused)?),
            None => return Err(refused()),
            Some((target, word)) => {
                let target = target.trim();
                let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':');
                if target.is_empty() || !target.bytes().all(plain) {
                    return Err(refused());
                }
                named.push((target.to_owned(), level(word).ok_or_else(refused)?));
            }
        }
    }
    let default = default.unwrap_or(LevelFilter::INFO);
    let quiet = QUIET.map(|target| (target.to_owned(), default.min(LevelFilter::WARN)));
    // Of two directives for one target the later counts.
    Ok(Targets::new()
        .with_default(default)
        .with_targets(quiet)
        .with_targets(named)
        .with_target(AUDIT, LevelFilter::INFO))
}

fn level(word: &str) -> Option<LevelFilter> {
    let word = word.trim().to_ascii_lowercase();
    match word.as_str() {
        "off" => Some(LevelFilter::OFF),
        "error" => Some(LevelFilter::ERROR),
        "warn" | "warning" => Some(LevelFilter::WARN),
        "info" => Some(LevelFilter::INFO),
        "debug" => Some(LevelFilter::DEBUG),
        "trace" => Some(LevelFilter::TRACE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::parse;

    #[test]
    fn levels_count_for_whom_they_are_said() {
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
            let targets = parse(text).unwrap();
            assert_eq!(
                targets.would_enable(target, &level),
                expected,
                "{text} for {target} at {level}"
            );
        }
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for bad in [
            "",
            "inof",
            "verbose",
            "info,",
            ",info",
            "info,debug",
            "info;debug",
            "=debug",
            "router_proxy=",
            "router_proxy=loud",
            "a b=info",
            "[span]=info",
            "5",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
