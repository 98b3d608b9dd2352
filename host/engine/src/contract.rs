//! Whether a component fits: which world and version it was built for, what this router offers, what is missing and how to
//! rebuild. In words for its author, in place of a linker's.

use wasmtime::component::Component;

use crate::guest::cut;

/// The world that is served.
pub const WORLD_SERVED: &str = "health-policy";

/// The package and version of the interfaces in `wit/`.
const PACKAGE: &str = "router:plugin";
const VERSION: &str = "0.1.0";

/// Which exported interface makes which world.
const WORLDS: [(&str, &str); 5] = [
    ("health", "health-policy"),
    ("breaker", "breaker-policy"),
    ("capacity", "capacity-policy"),
    ("rule", "alert-rule"),
    ("sink", "alert-sink"),
];

/// Interfaces that the served world may import.
const OFFERED: [&str; 2] = ["host", "types"];

/// Why a file is not a plugin that can be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub(crate) struct Misfit {
    /// One word for metrics.
    pub(crate) code: &'static str,
    /// What is wrong and what to do.
    pub(crate) words: String,
}

/// Longest words of a refusal: they may quote names from the file, and are shown and logged.
const WORDS_BYTES_MAX: usize = 4096;

impl Misfit {
    pub(crate) fn new(code: &'static str, words: impl Into<String>) -> Self {
        let mut words = words.into();
        words.truncate(cut(&words, WORDS_BYTES_MAX).len());
        Self { code, words }
    }

    /// Whether the same file may well be taken another time: it had too little time, or the router had a fault.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.code, FAILED_AT_LOAD | INTERNAL)
    }
}

/// It did not answer what every plugin is asked before it is taken into service.
pub(crate) const FAILED_AT_LOAD: &str = "failed_at_load";

/// The fault is the router's.
pub(crate) const INTERNAL: &str = "internal";

/// Looks at a file before it is compiled.
pub(crate) fn check_bytes(bytes: &[u8]) -> Result<(), Misfit> {
    match (bytes.get(..4), bytes.get(4..8)) {
        (Some(b"\0asm"), Some([0x0d, 0, 1, 0])) => Ok(()),
        (Some(b"\0asm"), Some([1, 0, 0, 0])) => Err(Misfit::new(
            "core_module",
            "it is a core WebAssembly module, not a component: build it with `cargo build --release --target wasm32-wasip2`",
        )),
        (Some(b"\0asm"), Some(_)) => Err(Misfit::new(
            "not_wasm",
            "it is WebAssembly of a kind that this router does not read: build a component (target wasm32-wasip2)",
        )),
        (Some(b"\0asm"), None) => Err(damaged("it ends after its first bytes")),
        _ if bytes.is_empty() => Err(damaged("it is empty")),
        _ => Err(Misfit::new(
            "not_wasm",
            "it is not WebAssembly: it does not begin with the four bytes that every WebAssembly file begins with",
        )),
    }
}

/// A file that is cut off or changed.
pub(crate) fn damaged(how: &str) -> Misfit {
    Misfit::new(
        "damaged",
        format!(
            "it is cut off or damaged ({how}): copy it again; a copy that is still under way is looked at when it is complete"
        ),
    )
}

/// What wasmtime says against a file that looks like a component.
pub(crate) fn not_compiled(error: &wasmtime::Error) -> Misfit {
    const QUOTED_BYTES_MAX: usize = 256;
    let text = format!("{error:#}");
    let quoted = cut(text.lines().next().unwrap_or_default(), QUOTED_BYTES_MAX);
    if text.contains("exceeds the") {
        let words = format!("it is made of more than a plugin may be made of: {quoted}");
        return Misfit::new("over_bound", words);
    }
    damaged(quoted)
}

/// Compares a component's imports and exports with what the router offers.
pub(crate) fn check(component: &Component) -> Result<(), Misfit> {
    let engine = component.engine();
    let kind = component.component_type();
    let exports: Vec<String> = kind
        .exports(engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    let ours: Vec<(&str, &str)> = exports.iter().filter_map(|name| of_package(name)).collect();
    let Some((interface, version)) = ours
        .iter()
        .find(|(interface, _)| WORLDS.iter().any(|(known, _)| known == interface))
    else {
        return Err(Misfit::new(
            "wrong_world",
            format!(
                "it exports nothing that a plugin of this router exports ({}): build it for a world of {PACKAGE}@{VERSION}, such as {WORLD_SERVED}",
                listed(&exports)
            ),
        ));
    };
    let world = WORLDS.iter().find(|(known, _)| known == interface);
    let world = world.map_or("?", |(_, world)| *world);
    if *version != VERSION {
        return Err(Misfit::new(
            "wrong_version",
            format!(
                "it was built for {world} of {PACKAGE}@{version}, and this router offers {PACKAGE}@{VERSION}: rebuild it with the SDK of this router's version"
            ),
        ));
    }
    if world != WORLD_SERVED {
        return Err(Misfit::new(
            "wrong_world",
            format!(
                "it was built for the world {world}, which this version does not serve yet; it serves {WORLD_SERVED}"
            ),
        ));
    }
    if !ours.contains(&("lifecycle", VERSION)) {
        return Err(Misfit::new(
            "wrong_world",
            format!(
                "it exports {interface} but not lifecycle: build it for the whole world {WORLD_SERVED}"
            ),
        ));
    }
    let missing: Vec<String> = kind
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .filter(|name| !is_offered(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Misfit::new(
        "missing_import",
        format!(
            "it needs {}, which the world {WORLD_SERVED} of {PACKAGE}@{VERSION} does not offer: build it for that world alone",
            listed(&missing)
        ),
    ))
}

/// `router:plugin/health@0.1.0` as interface and version.
fn of_package(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PACKAGE)?
        .strip_prefix('/')?
        .split_once('@')
}

/// WASI is offered, empty: even a pure function of some languages imports it.
fn is_offered(name: &str) -> bool {
    match of_package(name) {
        Some((interface, version)) => version == VERSION && OFFERED.contains(&interface),
        None => {
            let wasi = [
                "wasi:cli/",
                "wasi:clocks/",
                "wasi:filesystem/",
                "wasi:io/",
                "wasi:random/",
                "wasi:sockets/",
            ];
            wasi.iter().any(|package| name.starts_with(package)) && name.contains("@0.2.")
        }
    }
}

/// Names for a sentence; the first few of many.
fn listed(names: &[String]) -> String {
    const NAMED_MAX: usize = 5;
    if names.is_empty() {
        return "nothing at all".to_owned();
    }
    let named = names
        .iter()
        .take(NAMED_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::{check_bytes, is_offered};

    #[test]
    fn files_that_are_no_components_are_told_apart() {
        let code = |bytes: &[u8]| check_bytes(bytes).map_err(|misfit| misfit.code);
        assert_eq!(code(b"\0asm\x0d\0\x01\0"), Ok(()));
        assert_eq!(code(b"\0asm\x01\0\0\0"), Err("core_module"));
        assert_eq!(code(b"\0asm\x02\0\0\0"), Err("not_wasm"));
        assert_eq!(code(b"\0asm"), Err("damaged"));
        assert_eq!(code(b""), Err("damaged"));
        assert_eq!(code(b"#!/bin/sh"), Err("not_wasm"));
    }

    #[test]
    fn only_an_empty_wasi_and_the_small_host_are_offered() {
        assert!(is_offered("router:plugin/host@0.1.0"));
        assert!(is_offered("wasi:cli/environment@0.2.6"));
        assert!(!is_offered("router:plugin/host@0.2.0"));
        assert!(!is_offered("router:plugin/egress@0.1.0"));
        assert!(!is_offered("wasi:http/outgoing-handler@0.2.6"));
        assert!(!is_offered("wasi:cli/environment@0.3.0"));
        assert!(!is_offered("acme:stuff/things"));
    }
}
