//! `[instances]`: what holds for every instance unless its template or itself says otherwise.

use std::{path::PathBuf, time::Duration};

use crate::{Switchable, logging::mebibytes, reader::ConfigSection, value::PathText};

/// `[instances]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Instances {
    /// Where the instances' sockets and locks are.
    pub socket_dir: PathBuf,
    /// Instances at most, from all sources.
    pub max_instances: usize,
    /// Stopped after so long without use; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// From the spawn to the answered handshake and tool list.
    pub spawn_timeout: Duration,
    /// Connecting to an instance and its answer to the handshake; never a tool call.
    pub socket_timeout: Duration,
    /// A request of a client.
    pub request_timeout: Duration,
    /// How long lists of tools, prompts and resources may be served from memory; `None`: never.
    pub cache_ttl: Option<Duration>,
    /// Exit codes after which no restart is tried.
    pub permanent_exit_codes: Vec<i32>,
    /// How often the memory of each instance is measured.
    pub memory_interval: Duration,
    /// Share of `max_memory_mb` at which a slot is drained and started anew; at 1.0 it is killed.
    pub memory_recycle_share: f64,
    /// At most one recycle per slot within this time.
    pub recycle_interval: Duration,
    /// How long an instance with `on_router_exit = "stop"` waits for a router to come back.
    pub router_exit_grace: Duration,
    /// Whether cgroups are used where they are writable.
    pub use_cgroup: bool,
    /// `[instances.restart]`.
    pub restart: Restart,
    /// `[instances.crash_loop]`.
    pub crash_loop: CrashLoop,
    /// `[instances.stop]`.
    pub stop: StopConfig,
    /// `[instances.logs]`.
    pub logs: InstanceLogs,
}

/// `[instances.restart]`: pauses between starts after failures.
#[derive(Debug, Clone, PartialEq)]
pub struct Restart {
    /// The first pause; each further one doubles.
    pub initial: Duration,
    /// The longest pause, before jitter.
    pub max: Duration,
    /// Share by which a pause is stretched or shortened at random, from 0 to 1.
    pub jitter: f64,
    /// Time that a slot must stay ready before its failures are forgotten.
    pub reset_after: Duration,
}

/// `[instances.crash_loop]`: when failures are a crash loop.
#[derive(Debug, Clone, PartialEq)]
pub struct CrashLoop {
    /// So many failures …
    pub failures: u32,
    /// … within this time.
    pub window: Duration,
    /// So many failures in a row that look the same, none of which ever became ready, are one too.
    pub same_signature: u32,
    /// Pause before a slot in crash loop is tried again; `None`: only an operator starts it.
    pub slow_retry: Option<Duration>,
}

/// `[instances.stop]`: how a slot is stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct StopConfig {
    /// For requests in flight.
    pub drain: Duration,
    /// Between SIGTERM and the kill of the tree.
    pub term: Duration,
}

/// `[instances.logs]`: what instances write to stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceLogs {
    /// Bytes at which an instance's log is rotated.
    pub max_file_bytes: u64,
    /// Rotated files kept beside the current one.
    pub max_files: u32,
}

/// Shortest idle time: sooner, an instance would be stopped between two calls of one client.
pub(crate) const IDLE_MIN: Duration = Duration::from_secs(1);
/// Longer is `off`, said in a way that nobody understands.
pub(crate) const LONG: Duration = Duration::from_secs(365 * 86_400);

impl Instances {
    pub(crate) fn read(root: &ConfigSection<'_, '_>) -> Self {
        let section = root.child("instances");
        let working_dir = root.reader.environment.working_dir();
        let (ms, seconds) = (Duration::from_millis, Duration::from_secs);
        let instances = Self {
            socket_dir: working_dir.join(
                section
                    .key("socket_dir")
                    .restart()
                    .or(PathText("/tmp".into()))
                    .0,
            ),
            max_instances: section.key("max_instances").within(1, 100_000).or(1_000),
            idle_timeout: section
                .key("idle_timeout")
                .variable("MCP_IDLE_TIMEOUT")
                .within_or_off(IDLE_MIN, LONG)
                .or(Switchable(Some(seconds(1_800))))
                .0,
            spawn_timeout: section
                .key("spawn_timeout")
                .variable("INSTANCE_SPAWN_TIMEOUT")
                .within(ms(100), seconds(3_600))
                .or(seconds(10)),
            socket_timeout: section
                .key("socket_timeout")
                .variable("SOCKET_TIMEOUT")
                .within(ms(100), seconds(3_600))
                .or(seconds(5)),
            request_timeout: section
                .key("request_timeout")
                .variable("REQUEST_TIMEOUT")
                .within(ms(100), seconds(86_400))
                .or(seconds(300)),
            cache_ttl: section
                .key("cache_ttl")
                .variable("CACHE_TTL")
                .or(Switchable(None))
                .0,
            permanent_exit_codes: section.key("permanent_exit_codes").or(Vec::new()),
            memory_interval: section
                .key("memory_interval")
                .restart()
                .within(ms(100), seconds(3_600))
                .or(seconds(5)),
            memory_recycle_share: section.key("memory_recycle_share").within(0.1, 1.0).or(0.9),
            recycle_interval: section
                .key("recycle_interval")
                .within(seconds(1), seconds(86_400))
                .or(seconds(600)),
            router_exit_grace: section
                .key("router_exit_grace")
                .restart()
                .within(Duration::ZERO, seconds(3_600))
                .or(seconds(10)),
            use_cgroup: section.key("use_cgroup").restart().or(true),
            restart: Restart::read(&section),
            crash_loop: CrashLoop::read(&section),
            stop: StopConfig::read(&section),
            logs: InstanceLogs::read(&section),
        };
        section.close();
        instances
    }
}

impl Restart {
    fn read(outer: &ConfigSection<'_, '_>) -> Self {
        let section = outer.child("restart");
        let (ms, seconds) = (Duration::from_millis, Duration::from_secs);
        let restart = Self {
            initial: section
                .key("initial")
                .within(ms(10), seconds(3_600))
                .or(seconds(1)),
            max: section
                .key("max")
                .within(ms(10), seconds(86_400))
                .or(seconds(60)),
            jitter: section.key("jitter").within(0.0, 1.0).or(0.25),
            reset_after: section
                .key("reset_after")
                .within(seconds(1), seconds(86_400))
                .or(seconds(600)),
        };
        if restart.initial > restart.max {
            let remedy = "raise max, or lower initial";
            section
                .reader
                .fault_at(&section.key_path("max"), "is shorter than initial", remedy);
        }
        section.close();
        restart
    }
}

impl CrashLoop {
    fn read(outer: &ConfigSection<'_, '_>) -> Self {
        let section = outer.child("crash_loop");
        let seconds = Duration::from_secs;
        let crash_loop = Self {
            failures: section.key("failures").within(1, 1_000).or(5),
            window: section
                .key("window")
                .within(seconds(1), seconds(86_400))
                .or(seconds(300)),
            same_signature: section.key("same_signature").within(1, 1_000).or(3),
            slow_retry: section
                .key("slow_retry")
                // Sooner, it would be the loop that it is to end.
                .within_or_off(seconds(1), LONG)
                .or(Switchable(Some(seconds(600))))
                .0,
        };
        section.close();
        crash_loop
    }
}

impl StopConfig {
    fn read(outer: &ConfigSection<'_, '_>) -> Self {
        let section = outer.child("stop");
        let seconds = Duration::from_secs;
        let stop = Self {
            drain: section
                .key("drain")
                .within(Duration::ZERO, seconds(3_600))
                .or(seconds(10)),
            term: section
                .key("term")
                .within(Duration::ZERO, seconds(3_600))
                .or(seconds(5)),
        };
        section.close();
        stop
    }
}

impl InstanceLogs {
    fn read(outer: &ConfigSection<'_, '_>) -> Self {
        let section = outer.child("logs");
        let logs = Self {
            max_file_bytes: mebibytes(
                section
                    .key("max_file_mb")
                    .restart()
                    .within(1, 65_536)
                    .or(10),
            ),
            max_files: section.key("max_files").restart().within(0, 1_000).or(4),
        };
        section.close();
        logs
    }
}
