//! The WASI of a guest: what programs need to start, and nothing that tells them anything.
//!
//! Every interface is there, because even a pure function of an interpreted language imports two dozen of them and reads a clock and
//! random bytes as it starts. But there are no files, no network, no environment and no arguments; the clocks stand still; and the
//! random bytes are the same in every call. So a call's answer follows from its question, its settings and what the plugin kept,
//! and can be asked for again.

use std::{sync::Arc, time::Duration};

use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx};

use super::output::{Output, Stream};

/// Most random bytes of one call to WASI: a seed takes 32.
const RANDOM_BYTES_MAX: u64 = 4096;

/// What hash maps are seeded with. That it is known harms nobody: what a policy is asked about is bounded, and so is its time.
const SEED: u64 = 0x676f_646f_746d_6370;

/// The random bytes, over and over.
const RANDOM: [u8; 256] = random();

/// SplitMix64 (Steele, Lea and Flood, 2014).
const fn random() -> [u8; 256] {
    let mut bytes = [0; 256];
    let mut state = SEED;
    let mut at = 0;
    while at < bytes.len() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes[at] = (mixed >> 56) as u8;
        at += 1;
    }
    bytes
}

/// A clock that stands still: at the beginning of 1970, and at nought.
struct FrozenClock;

impl HostWallClock for FrozenClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for FrozenClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}

/// See the module.
pub(super) fn context(output: &Arc<Output>) -> WasiCtx {
    WasiCtx::builder()
        .allow_tcp(false)
        .allow_udp(false)
        .wall_clock(FrozenClock)
        .monotonic_clock(FrozenClock)
        .secure_random(Deterministic::new(RANDOM.to_vec()))
        .insecure_random(Deterministic::new(RANDOM.to_vec()))
        .insecure_random_seed(u128::from(SEED))
        .max_random_size(RANDOM_BYTES_MAX)
        .stdout(output.stream(Stream::Stdout))
        .stderr(output.stream(Stream::Stderr))
        .build()
}
