//! Whether a component fits: which kind and version it was built for, what this router offers, what is missing and how to rebuild,
//! said for its author in place of a linker.

use wasmtime::component::Component;

use crate::{kinds::Served, rejection::Rejection};

/// Interfaces that every kind may import.
const OFFERED: [&str; 2] = ["router:common/host@0.2.0", "router:common/types@0.2.0"];

/// The interface that every kind exports beside its question.
const LIFECYCLE: &str = "router:common/lifecycle@0.2.0";

/// The package that held the questions of all kinds before each had one of its own.
const PACKAGE_BEFORE: &str = "router:plugin";

/// The name of an interface: `router:health/health@0.2.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct InterfaceName<'a> {
    /// `router:health`.
    package: &'a str,
    interface: &'a str,
    version: &'a str,
}

impl<'a> InterfaceName<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let (package, rest) = name.split_once('/')?;
        let (interface, version) = rest.split_once('@')?;
        Some(Self {
            package,
            interface,
            version,
        })
    }

    /// Whether it asks the question of another one, in whatever version.
    fn is_successor_or_same(&self, asked: &Self) -> bool {
        self.interface == asked.interface
            && (self.package == asked.package || asked.package == PACKAGE_BEFORE)
    }
}

/// Checks a file before it is compiled.
pub(crate) fn check_bytes(bytes: &[u8]) -> Result<(), Rejection> {
    match (bytes.get(..4), bytes.get(4..8)) {
        (Some(b"\0asm"), Some([0x0d, 0, 1, 0])) => Ok(()),
        (Some(b"\0asm"), Some([1, 0, 0, 0])) => Err(Rejection::new(
            "core_module",
            "it is a core WebAssembly module, not a component: build it with `cargo build --release --target wasm32-wasip2`",
        )),
        (Some(b"\0asm"), Some(_)) => Err(Rejection::new(
            "not_wasm",
            "it is WebAssembly of a kind that this router does not read: build a component (target wasm32-wasip2)",
        )),
        (Some(b"\0asm"), None) => Err(Rejection::damaged("it ends after its first bytes")),
        _ if bytes.is_empty() => Err(Rejection::damaged("it is empty")),
        _ => Err(Rejection::new(
            "not_wasm",
            "it is not WebAssembly: it does not begin with the four bytes that every WebAssembly file begins with",
        )),
    }
}

/// Compares a component's imports and exports with what the router offers, and says which kind it is.
pub(crate) fn check(component: &Component, served: &[Served]) -> Result<Served, Rejection> {
    let engine = component.engine();
    let shape = component.component_type();
    let exports: Vec<String> = shape
        .exports(engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    let kind = kind_of(&exports, served)?;
    let world = kind.contract.world;
    if !exports.iter().any(|name| name == LIFECYCLE) {
        return Err(Rejection::new(
            "wrong_world",
            format!(
                "it exports {} but not {LIFECYCLE}: build it for the whole world {world}",
                kind.contract.question
            ),
        ));
    }
    let missing: Vec<String> = shape
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .filter(|name| !is_offered(name, kind.contract.imports))
        .collect();
    if missing.is_empty() {
        return Ok(kind);
    }
    Err(Rejection::new(
        "missing_import",
        format!(
            "it needs {}, which the world {world} does not offer: build it for that world alone",
            listed(&missing)
        ),
    ))
}

/// The kind whose question a component answers.
fn kind_of(exports: &[String], served: &[Served]) -> Result<Served, Rejection> {
    for export in exports.iter().filter_map(|name| InterfaceName::parse(name)) {
        let kind = served
            .iter()
            .find(|kind| is_question(&export, kind.contract.question));
        if let Some(kind) = kind {
            same_version(&export, kind.contract.world, kind.contract.question)?;
            return Ok(*kind);
        }
    }
    Err(Rejection::new(
        "wrong_world",
        format!(
            "it exports nothing that a plugin of this router exports ({}): build it for a world of this router's wit/, such as {}",
            listed(exports),
            worlds(served)
        ),
    ))
}

/// Whether an interface holds a question, in whatever version.
fn is_question(export: &InterfaceName<'_>, question: &str) -> bool {
    InterfaceName::parse(question).is_some_and(|question| question.is_successor_or_same(export))
}

fn same_version(export: &InterfaceName<'_>, world: &str, question: &str) -> Result<(), Rejection> {
    let Some(offered) = InterfaceName::parse(question).filter(|offered| offered != export) else {
        return Ok(());
    };
    Err(Rejection::new(
        "wrong_version",
        format!(
            "it was built for {world} of {}@{}, and this router offers {}@{}: rebuild it with the SDK and the wit/ of this router's version",
            export.package, export.version, offered.package, offered.version
        ),
    ))
}

/// The worlds that are served, for a sentence.
pub(crate) fn worlds(served: &[Served]) -> String {
    let worlds: Vec<&str> = served.iter().map(|kind| kind.contract.world).collect();
    worlds.join(", ")
}

/// WASI is offered, empty: even a pure function of some languages imports it.
fn is_offered(name: &str, of_kind: &[&str]) -> bool {
    let wasi = [
        "wasi:cli/",
        "wasi:clocks/",
        "wasi:filesystem/",
        "wasi:io/",
        "wasi:random/",
        "wasi:sockets/",
    ];
    OFFERED.contains(&name)
        || of_kind.contains(&name)
        || (wasi.iter().any(|package| name.starts_with(package)) && name.contains("@0.2."))
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
    use super::{check_bytes, is_offered, kind_of};
    use crate::kinds::SERVED;

    #[test]
    fn files_that_are_no_components_are_distinguished() {
        let code = |bytes: &[u8]| check_bytes(bytes).map_err(|rejection| rejection.code);
        assert_eq!(code(b"\0asm\x0d\0\x01\0"), Ok(()));
        assert_eq!(code(b"\0asm\x01\0\0\0"), Err("core_module"));
        assert_eq!(code(b"\0asm\x02\0\0\0"), Err("not_wasm"));
        assert_eq!(code(b"\0asm"), Err("damaged"));
        assert_eq!(code(b""), Err("damaged"));
        assert_eq!(code(b"#!/bin/sh"), Err("not_wasm"));
    }

    #[test]
    fn only_an_empty_wasi_and_the_small_host_are_offered() {
        let of_kind = ["router:alerts/egress@0.2.0"];
        for name in [
            "router:common/host@0.2.0",
            "router:alerts/egress@0.2.0",
            "wasi:cli/environment@0.2.6",
        ] {
            assert!(is_offered(name, &of_kind), "{name}");
        }
        assert!(!is_offered(of_kind[0], &[]), "another kind may import it");
        for name in [
            "router:common/host@0.1.0",
            "wasi:http/outgoing-handler@0.2.6",
            "wasi:cli/environment@0.3.0",
            "acme:stuff/things",
        ] {
            assert!(!is_offered(name, &of_kind), "{name}");
        }
    }

    fn refused(export: &str) -> (&'static str, String) {
        let exports = [
            export.to_owned(),
            "router:common/lifecycle@0.2.0".to_owned(),
        ];
        let rejection = kind_of(&exports, SERVED).map(|kind| kind.contract.world);
        let rejection = rejection.unwrap_err();
        (rejection.code, rejection.reason)
    }

    #[test]
    fn a_plugin_of_the_package_before_is_refused_with_how_to_rebuild() {
        for (interface, offered) in [
            (
                "health",
                "health-policy of router:plugin@0.1.0, and this router offers router:health@0.2.0",
            ),
            (
                "rule",
                "alert-rule of router:plugin@0.1.0, and this router offers router:alerts@0.2.0",
            ),
        ] {
            let (code, reason) = refused(&format!("router:plugin/{interface}@0.1.0"));
            assert_eq!(code, "wrong_version");
            assert!(
                reason.contains(offered) && reason.contains("rebuild it"),
                "{reason}"
            );
        }
    }
}
