//! A plugin of a kind that exists only in the tests of `router-engine`: it says what it hears, or misbehaves as that demands.

#![cfg(target_family = "wasm")]

use router_plugin_sdk::{ConfigFault, Settings, Value};

#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    reason = "generated from wit/"
)]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit", "wit"],
        inline: "
            package test:guest;
            world guest {
                import test:echo/clock@0.2.0;
                export test:echo/echo@0.2.0;
            }
        ",
        generate_all,
        with: {
            "router:common/types@0.2.0": router_plugin_sdk::bindings::router::common::types,
        },
    });

    export!(Parrot);

    pub(super) struct Parrot;
}

use bindings::{Parrot, exports::test::echo::echo, test::echo::clock};

/// What the SDK's macro wants of every kind.
trait Echo {
    const NAME: &'static str;
    const SUMMARY: &'static str;
    const VERSION: &'static str;

    fn check(settings: &Settings) -> Vec<ConfigFault>;
}

impl Echo for Parrot {
    const NAME: &'static str = "parrot";
    const SUMMARY: &'static str = "says what it hears";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        let unknown = settings.keys().filter(|key| *key != "before");
        unknown
            .map(|key| ConfigFault {
                key: key.to_owned(),
                reason: "is not known".to_owned(),
            })
            .collect()
    }
}

router_plugin_sdk::export_plugin_lifecycle!(Parrot, Parrot as Echo);

impl echo::Guest for Parrot {
    fn say(text: String, settings: Vec<echo::Setting>) -> String {
        if let Some(ms) = text.strip_prefix("wait ") {
            clock::wait(ms.parse().unwrap_or(0));
        }
        match text.as_str() {
            "loop" => endless(),
            "trap" => trap(),
            _ => {
                let settings = Settings::from_guest(settings);
                let before = settings.get("before");
                match before {
                    Some(Value::Text(before)) => format!("{before} {text}"),
                    _ => text,
                }
            }
        }
    }
}

#[allow(clippy::empty_loop, reason = "this is what it is for")]
fn endless() -> ! {
    loop {
        std::hint::black_box(());
    }
}

#[allow(clippy::panic, reason = "this is what it is for")]
fn trap() -> ! {
    panic!("as it was asked to")
}
