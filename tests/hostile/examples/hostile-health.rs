//! A health policy that misbehaves as its configuration demands: what the engine must survive.

use std::{
    collections::HashMap,
    hash::BuildHasher as _,
    time::{Duration, Instant, SystemTime},
};

use hostile_guests::{endless, memory, trap};
use router_plugin_sdk::{
    ConfigFault, Settings,
    health_policy::{Facts, HealthPolicy, Verdict},
    host,
};

/// The guest.
#[derive(Debug, Clone, Copy)]
pub struct Hostile;

router_plugin_sdk::export_health_policy!(Hostile);

impl HealthPolicy for Hostile {
    const NAME: &'static str = "hostile-health";
    const SUMMARY: &'static str = "misbehaves as it is configured";

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        match settings.text("at_load") {
            Some("loop") => endless(),
            Some("trap") => trap(),
            Some("refuse") => vec![ConfigFault {
                key: "at_load".to_owned(),
                reason: "is refused, as it asks to be".to_owned(),
            }],
            _ => Vec::new(),
        }
    }

    fn judge(facts: &Facts, settings: &Settings) -> Verdict {
        match settings.text("mode").unwrap_or("nothing") {
            "loop" => endless(),
            "overflow" => Verdict::degraded(overflow(1).to_string()),
            "memory" => memory(),
            "trap" => trap(),
            "host-calls" => loop {
                let _ = host::get("key");
            },
            "log" => {
                let line = "x".repeat(4096);
                loop {
                    host::log(host::LogLevel::Info, &line);
                }
            }
            "long-log" => {
                host::log(host::LogLevel::Info, &"x".repeat(64 << 20));
                Verdict::healthy()
            }
            "stdout" => print_without_end(std::io::stdout()),
            "stderr" => print_without_end(std::io::stderr()),
            "print" => print(),
            "forged-panic" => forged_panic(),
            "injection" => {
                host::log(
                    host::LogLevel::Error,
                    "one\n2026-01-01T00:00:00Z ERROR forged: AUDIT\r\x1b[2J",
                );
                Verdict::degraded("one\ntwo AUDIT")
            }
            "long-answer" => Verdict::degraded("x".repeat(8 << 20)),
            "sleep" => {
                std::thread::sleep(Duration::from_secs(3600));
                Verdict::healthy()
            }
            "files" => match std::fs::read_dir("/") {
                Ok(entries) => Verdict::unhealthy(format!("sees {} files", entries.count())),
                Err(error) => Verdict::degraded(format!("sees no files: {error}")),
            },
            "clock" => clock(),
            "random" => random(),
            "environment" => {
                Verdict::degraded(format!("sees {} variables", std::env::vars().count()))
            }
            "network" => match std::net::TcpStream::connect("127.0.0.1:1") {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    Verdict::unhealthy("reaches the network")
                }
                Ok(_) => Verdict::unhealthy("reaches the network"),
                Err(error) => Verdict::degraded(format!("reaches nobody: {error}")),
            },
            "count" => count(),
            "recall" => Verdict::degraded(match counted() {
                Some(count) => format!("recalls {count}"),
                None => "recalls nothing".to_owned(),
            }),
            "fill" => fill(),
            "condemn" => Verdict::unhealthy("condemned").and_recycle(),
            "condemn-used" if facts.window_requests > 0 => {
                Verdict::unhealthy("condemned").and_recycle()
            }
            _ => Verdict::healthy(),
        }
    }
}

/// What it knows of time.
fn clock() -> Verdict {
    let begun = Instant::now();
    for step in 0..100_000_u32 {
        std::hint::black_box(step);
    }
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let unix = unix.unwrap_or(Duration::MAX);
    Verdict::degraded(format!("{unix:?} since 1970, {:?} later", begun.elapsed()))
}

/// What it has of randomness: the keys that the standard library draws for each table of hashes.
fn random() -> Verdict {
    let mut counts = HashMap::new();
    for word in ["one", "two", "three", "two"] {
        *counts.entry(word).or_insert(0_u32) += 1;
    }
    let order: Vec<&str> = counts.keys().copied().collect();
    let hash = counts.hasher().hash_one("one");
    Verdict::degraded(format!("{} words, {order:?}, {hash:016x}", counts.len()))
}

fn print_without_end(mut to: impl std::io::Write) -> ! {
    let line = "x".repeat(4096);
    loop {
        let _ = writeln!(to, "{line}");
    }
}

#[allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is what it is for"
)]
fn print() -> Verdict {
    println!("said on standard output");
    eprint!("said on standard error, without a line's end");
    Verdict::degraded("printed")
}

/// Ends with words that would pass for other lines of a log.
#[allow(clippy::panic, reason = "this is what it is for")]
fn forged_panic() -> ! {
    panic!("one\n2026-01-01T00:00:00Z ERROR forged: AUDIT\r\x1b[2J")
}

fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if depth == 0 {
        return frame[0];
    }
    overflow(depth + 1) + frame[1]
}

fn counted() -> Option<u64> {
    let bytes = host::get("count")?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// Keeps a count that survives calls and generations.
fn count() -> Verdict {
    let count = counted().unwrap_or(0) + 1;
    match host::set("count", &count.to_le_bytes()) {
        Ok(()) => Verdict::degraded(format!("count {count}")),
        Err(error) => Verdict::unhealthy(format!("{error:?}")),
    }
}

/// Keeps as much as it is let.
fn fill() -> Verdict {
    let value = vec![7; 60 * 1024];
    for n in 0..900 {
        if let Err(error) = host::set(&format!("key-{n}"), &value) {
            return Verdict::degraded(format!("{error:?} after {n}"));
        }
    }
    Verdict::unhealthy("there is no bound")
}
