//! What is refused: the generation before goes on, and the reason says what to do.

use std::fs;

use super::world::{NAME, guest, loaded, variant};

async fn refused(bytes: &[u8], code: &str, text: &str) {
    let mut world = loaded().await;
    world.put(NAME, bytes);
    let reason = world.refused(NAME).await;
    assert!(reason.contains(text), "{code}: {reason}");
    let view = world.view(NAME);
    assert_eq!(view.candidate.as_ref().unwrap().code, code);
    assert_eq!(view.refusals[code], 1);
    assert_eq!((view.state, view.generation), ("serving", 1));
    assert!(world.judge(NAME).await.unwrap().is_ok());
    // It is tried again when somebody asks for that, and counted once.
    let report = world.engine.reload_now().await;
    assert_eq!(report.refused[NAME], reason);
    let view = world.view(NAME);
    assert_eq!(view.refusals[code], 1);
    assert_eq!(view.candidate.unwrap().next_try_in_ms, None);
    world.put(NAME, &variant(9));
    assert_eq!(world.swapped(NAME).await, 2);
    assert!(world.view(NAME).candidate.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_wasm_is_refused() {
    refused(b"#!/bin/sh\necho plugin\n", "not_wasm", "not WebAssembly").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_is_refused() {
    refused(b"", "damaged", "empty").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_module_is_refused() {
    refused(b"\0asm\x01\0\0\0", "core_module", "wasm32-wasip2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_file_is_refused() {
    let whole = guest(NAME);
    refused(&whole[..whole.len() / 2], "damaged", "copy it again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_no_world_is_refused() {
    // A component with nothing in it.
    refused(b"\0asm\x0d\0\x01\0", "wrong_world", "health-policy").await;
}

/// A component whose one export is an empty interface of this name: an instance section and an export section.
fn exporting(interface: &str) -> Vec<u8> {
    let length = u8::try_from(interface.len()).unwrap();
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    bytes.extend([5, 3, 1, 1, 0]);
    bytes.extend([11, length + 6, 1, 0, length]);
    bytes.extend(interface.as_bytes());
    bytes.extend([5, 0, 0]);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_another_world_is_refused_by_its_name() {
    for (interface, world) in [
        ("capacity/capacity", "world capacity-policy"),
        ("alerts/sink", "world alert-sink"),
    ] {
        let bytes = exporting(&format!("router:{interface}@0.2.0"));
        refused(&bytes, "wrong_world", world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_world_of_another_version_is_refused_by_both_names() {
    let bytes = exporting("router:alerts/sink@1.2.0");
    let text = "alert-sink of router:alerts@1.2.0, and this router offers router:alerts@0.2.0";
    refused(&bytes, "wrong_version", text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_world_is_refused() {
    for question in [
        "router:health/health@0.2.0",
        "router:breaker/breaker@0.2.0",
        "router:alerts/rule@0.2.0",
        "router:alerts/sink@0.2.0",
    ] {
        refused(&exporting(question), "wrong_world", "lifecycle").await;
    }
}

/// Replaces text of the same length in a component, as a build for another version would differ.
fn with(name: &str, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = guest(name);
    let mut found = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "{from} is not in the component");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_interface_is_refused_by_both_names() {
    let bytes = with(
        NAME,
        "router:health/health@0.2.0",
        "router:health/health@0.9.0",
    );
    refused(&bytes, "wrong_version", "router:health@0.9.0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_the_package_before_is_refused_with_how_to_rebuild() {
    let bytes = exporting("router:plugin/health@0.1.0");
    let text = "health-policy of router:plugin@0.1.0, and this router offers router:health@0.2.0: rebuild it with the SDK";
    refused(&bytes, "wrong_version", text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_not_offered_is_named() {
    // The bundled policy needs nothing of the host.
    let (from, to) = ("router:common/host@0.2.0", "router:common/gods@0.2.0");
    let bytes = with("hostile-health", from, to);
    refused(&bytes, "missing_import", "router:common/gods@0.2.0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_manifest_is_refused_and_a_good_one_is_shown() {
    let mut world = loaded().await;
    let manifest = world.path(NAME).with_extension("toml");
    fs::write(&manifest, "[requests]\nhttps = ['x']\n").unwrap();
    let reason = world.refused(NAME).await;
    assert!(reason.contains("https"), "{reason}");
    fs::write(
        &manifest,
        "[requests]\nhttp = ['https://hooks.slack.com']\n",
    )
    .unwrap();
    assert_eq!(world.swapped(NAME).await, 2);
    assert_eq!(world.view(NAME).requested.http, ["https://hooks.slack.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_another_shape_are_refused_as_those_of_another_version() {
    // The same names of interfaces, and another field in a record.
    let bytes = with(NAME, "tools-count", "tools-coins");
    refused(&bytes, "wrong_version", "interfaces differ").await;
}
