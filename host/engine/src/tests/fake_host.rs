//! The host that the SDK gives to native tests beside the real one: a policy that passes its author's tests is refused nothing here.

use std::{iter, panic, sync::Arc, time::Duration};

use router_plugin_sdk::host::{self as fake, Bounds, FakeHost};

use crate::{
    Limits, NoValues,
    bindings::host::{Host as _, LogLevel, StoreError},
    guest::GuestState,
    values::Values,
};

const LIMITS: Limits = Limits {
    call_timeout: Duration::from_secs(1),
    memory_bytes: 1 << 20,
    host_calls: 3_000,
    log_bytes: 20_000,
    store_bytes: 200_000,
    file_bytes: 1 << 20,
};

async fn real() -> GuestState {
    let values = Values::new(Arc::new(NoValues)).of("p").await;
    GuestState::new("p".into(), LIMITS, values, Arc::default())
}

fn faked() -> FakeHost {
    FakeHost::with_bounds(Bounds {
        host_calls: LIMITS.host_calls,
        log_bytes: LIMITS.log_bytes,
        store_bytes: LIMITS.store_bytes,
    })
}

#[test]
fn the_bounds_are_the_same() {
    let (limits, bounds) = (Limits::default(), Bounds::default());
    assert_eq!(
        (limits.host_calls, limits.log_bytes, limits.store_bytes),
        (bounds.host_calls, bounds.log_bytes, bounds.store_bytes)
    );
}

#[tokio::test]
async fn the_same_values_are_kept() {
    let (mut real, _faked) = (real().await, faked());
    let long = |length: usize| "k".repeat(length);
    let single = [
        (String::new(), 1),
        ("a\0b".to_owned(), 1),
        (long(256), 1),
        (long(257), 1),
        (long(256), 64 * 1024),
        (long(1), 64 * 1024 + 1),
        ("a".to_owned(), 64 * 1024),
        ("b".to_owned(), 64 * 1024),
        // Too much together, as often as it is tried; less is taken.
        ("c".to_owned(), 64 * 1024),
        ("c".to_owned(), 10),
        ("a".to_owned(), 0),
    ];
    let many = (0..1_100).map(|n| (format!("key-{n}"), 1));
    let again = (0..20).map(|n| (format!("key-{n}"), n));
    for (key, length) in single.into_iter().chain(many).chain(again) {
        let value = vec![7; length];
        let kept = real.set(key.clone(), value.clone()).unwrap();
        let as_faked = match fake::set(&key, &value) {
            Ok(()) => Ok(()),
            Err(fake::StoreError::BadKey) => Err(StoreError::BadKey),
            Err(fake::StoreError::Full) => Err(StoreError::Full),
            Err(fake::StoreError::Other(why)) => Err(StoreError::Other(why)),
        };
        assert_eq!(kept, as_faked, "{length} bytes under {key}");
        assert_eq!(real.get(key.clone()).unwrap(), fake::get(&key), "{key}");
    }
    real.delete("key-1".to_owned()).unwrap();
    fake::delete("key-1");
    assert_eq!(fake::get("key-1"), None);
    assert_eq!(real.get("key-1".to_owned()).unwrap(), None);
}

/// How often something goes before a bound ends it, and the bound's words.
fn ends(mut one: impl FnMut() -> Result<(), String>) -> (usize, String) {
    let ended = iter::repeat_with(&mut one)
        .take(10_000)
        .enumerate()
        .find_map(|(count, result)| Some((count, result.err()?)));
    ended.expect("there is a bound")
}

fn caught(call: impl FnOnce()) -> Result<(), String> {
    let result = panic::catch_unwind(panic::AssertUnwindSafe(call));
    result.map_err(|panic| panic.downcast_ref::<String>().unwrap().clone())
}

#[tokio::test]
async fn a_call_ends_at_the_same_point_with_the_same_message() {
    let line = "é".repeat(3_000);
    let (mut real, faked) = (real().await, faked());
    let text = |error: wasmtime::Error| error.to_string();
    let really = [
        ends(|| real.log(LogLevel::Debug, line.clone()).map_err(text)),
        ends(|| real.get("key".to_owned()).map(drop).map_err(text)),
    ];
    let get = || caught(|| drop(fake::get("key")));
    let log = || caught(|| fake::log(fake::LogLevel::Debug, &line));
    let as_faked = [ends(log), ends(get)];
    for ((count, message), (as_faked, faked_message)) in really.into_iter().zip(as_faked) {
        assert_eq!(count, as_faked, "{message}");
        assert!(
            faked_message.contains(&message),
            "{faked_message}: {message}"
        );
    }
    assert_eq!(faked.lines().len(), 3);
    assert!(faked.lines()[0].message.len() == 4_096);
}
