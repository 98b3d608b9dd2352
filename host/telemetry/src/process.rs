//! The router's own process, under the names that every Prometheus dashboard knows. Read from `/proc/self` at each scrape; what cannot
//! be read is left out.

use std::fs;

use prometheus::proto::MetricFamily;

use crate::exposition::Family;

/// Units of `utime` and `stime` in `/proc/self/stat` per second: `USER_HZ` is 100 wherever Linux runs that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

pub(crate) fn families() -> impl Iterator<Item = MetricFamily> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let kilobytes = |key| status_number(&status, key).map(|kb| kb * 1024.0);
    [
        (
            "process_resident_memory_bytes",
            "Resident memory of the router.",
            kilobytes("VmRSS:"),
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory of the router.",
            kilobytes("VmSize:"),
        ),
        (
            "process_threads",
            "Threads of the router.",
            status_number(&status, "Threads:"),
        ),
        (
            "process_open_fds",
            "Open file descriptors of the router.",
            open_descriptors(),
        ),
        (
            "process_max_fds",
            "The most file descriptors that the router may open.",
            descriptors_max(&limits),
        ),
        (
            "process_start_time_seconds",
            "When the router started, in seconds since the epoch.",
            start_time_s(&stat),
        ),
    ]
    .into_iter()
    .filter_map(|(name, help, value)| Family::gauge(name, help).single(value?).finish())
    .chain(cpu_seconds(&stat).and_then(|seconds| {
        Family::counter(
            "process_cpu_seconds_total",
            "Processor time of the router, user and system.",
        )
        .single(seconds)
        .finish()
    }))
}

fn status_number(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The one that lists them is open too while they are listed.
fn open_descriptors() -> Option<f64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(count.saturating_sub(1) as f64)
}

fn descriptors_max(limits: &str) -> Option<f64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A field of `/proc/self/stat`, counted from 1 as proc(5) does. The second may hold spaces and parentheses; it ends at the last one.
fn stat_field(stat: &str, field: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace()
        .nth(field.checked_sub(3)?)?
        .parse()
        .ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_time_s(stat: &str) -> Option<f64> {
    let system = fs::read_to_string("/proc/stat").ok()?;
    let boot_s = status_number(&system, "btime ")?;
    Some(boot_s + stat_field(stat, 22)? / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::{descriptors_max, stat_field, status_number};

    #[test]
    fn fields_are_found_behind_a_hostile_process_name() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 4 0 777 0";
        assert_eq!(stat_field(stat, 14), Some(250.0));
        assert_eq!(stat_field(stat, 15), Some(50.0));
        assert_eq!(stat_field(stat, 22), Some(777.0));
        assert_eq!(stat_field("garbage", 14), None);
    }

    #[test]
    fn numbers_are_read_and_what_is_missing_is_none() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t7\n";
        assert_eq!(status_number(status, "VmRSS:"), Some(2048.0));
        assert_eq!(status_number(status, "Threads:"), Some(7.0));
        assert_eq!(status_number(status, "VmSize:"), None);
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  4096  files\n";
        assert_eq!(descriptors_max(limits), Some(1024.0));
        assert_eq!(
            descriptors_max("Max open files unlimited unlimited files"),
            None
        );
    }
}
