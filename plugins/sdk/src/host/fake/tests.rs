//! What a test sees of the host, and what ends it.

use std::{panic, thread};

use super::{Bounds, FakeHost, Line};
use crate::host::{self, LogLevel, StoreError};

/// The words with which something ends.
fn ended(call: impl FnOnce() + panic::UnwindSafe) -> String {
    let panic = panic::catch_unwind(call).unwrap_err();
    panic.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn values_and_lines_are_seen_by_the_test_and_by_no_other_thread() {
    let fake = FakeHost::new();
    fake.keep("before", b"1").unwrap();
    assert_eq!(host::get("before").as_deref(), Some(&b"1"[..]));
    host::set("after", b"2").unwrap();
    host::delete("before");
    assert_eq!(fake.keys(), ["after"]);
    assert_eq!(fake.value("after").as_deref(), Some(&b"2"[..]));
    host::log(LogLevel::Warn, &"é".repeat(3_000));
    let line = Line {
        level: LogLevel::Warn,
        message: "é".repeat(2_048),
    };
    assert_eq!(fake.lines(), [line]);
    let elsewhere = thread::spawn(|| host::get("after"));
    assert_eq!(elsewhere.join().unwrap(), None);
    assert!(FakeHost::new().keys().is_empty());
}

#[test]
fn what_the_router_does_not_keep_is_not_kept() {
    let fake = FakeHost::with_bounds(Bounds {
        store_bytes: 10,
        ..Bounds::default()
    });
    for (key, value, kept) in [
        ("", &b""[..], Err(StoreError::BadKey)),
        ("a\0b", b"", Err(StoreError::BadKey)),
        ("key", b"12345678", Err(StoreError::Full)),
        ("key", b"1234567", Ok(())),
        ("k", b"", Err(StoreError::Full)),
        ("key", b"123456", Ok(())),
        ("k", b"", Ok(())),
    ] {
        assert_eq!(host::set(key, value), kept, "{key:?}");
    }
    assert_eq!(fake.keys(), ["k", "key"]);
}

#[test]
fn past_a_bound_the_call_ends_as_the_router_says_it() {
    let fake = FakeHost::new();
    let many = || (0..1_000).for_each(|_| drop(host::get("key")));
    fake.call(many);
    fake.call(many);
    assert!(ended(|| drop(host::get("key"))).contains("more than the 1000 calls to the host"));
    let text = "x".repeat(40_000);
    let log = || host::log(LogLevel::Info, &text);
    fake.call(log);
    fake.call(log);
    assert!(ended(log).contains("more than the 65536 bytes that a call may log"));
    let bytes = vec![0; 2 << 20];
    let too_many = ended(|| fake.call(|| drop(host::set("key", &bytes))));
    assert!(too_many.contains("1048576 may cross"), "{too_many}");
}
