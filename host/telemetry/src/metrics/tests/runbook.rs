//! What an operator pipes the metrics into, run with the operator's own tools.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use router_core::{ErrorKind, Now};

use super::{busy, three};
use crate::{Metrics, Outcome};

/// The output of a shell pipeline that is given the metrics.
fn piped(metrics: &Metrics, pipeline: &str) -> String {
    let mut child = Command::new("sh")
        .args(["-c", pipeline])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = metrics.encode(Now::at(1_000));
    // `head` may have read enough before the end.
    let _ = stdin.write_all(text.as_bytes());
    drop(stdin);
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn the_first_ten_lines_show_the_fleet() {
    let shown = piped(&busy(), r#"grep -E "^mcp_" | head -10"#);
    assert_eq!(shown.lines().count(), 10);
    for start in [
        "mcp_instances_total 3",
        "mcp_instances{status=\"healthy\"} 1",
        "mcp_instances_crash_loop 1",
        "mcp_router_readiness 1",
    ] {
        assert!(
            shown.lines().any(|line| line == start),
            "{start} in\n{shown}"
        );
    }
}

#[test]
fn errors_add_up_and_the_worst_kind_comes_first() {
    let metrics = busy();
    let sum = piped(
        &metrics,
        "grep 'mcp_errors_total' | awk '{sum+=$2} END {print sum}'",
    );
    assert_eq!(sum.trim(), "23");
    let worst = piped(&metrics, "grep 'mcp_errors_total' | sort -k2 -nr | head -5");
    assert_eq!(
        worst.lines().next(),
        Some("mcp_errors_total{kind=\"validation\"} 11")
    );
    assert_eq!(
        worst.lines().nth(1),
        Some("mcp_errors_total{kind=\"timeout\"} 10")
    );
    let older = piped(
        &metrics,
        "grep -E '^mcp_errors_[a-z]+_total ' | sort -k2 -nr | head -1",
    );
    assert_eq!(older.trim(), "mcp_errors_validation_total 11");
    let none = piped(
        &Metrics::new(),
        "grep 'mcp_errors_total' | awk '{sum+=$2} END {print sum}'",
    );
    assert_eq!(none.trim(), "0");
}

#[test]
fn the_boundary_of_half_a_second_is_one_plain_number() {
    let pipeline = r#"grep 'mcp_request_duration_seconds_bucket{le="0.5"}' | awk '{print $2}'"#;
    assert_eq!(piped(&busy(), pipeline), "41\n");
    let slow = Metrics::new();
    slow.observe(
        "x",
        Now::at(0),
        Duration::from_millis(501),
        Outcome::Answered,
    );
    slow.observe(
        "x",
        Now::at(0),
        Duration::from_millis(500),
        Outcome::Answered,
    );
    assert_eq!(piped(&slow, pipeline), "1\n");
}

#[test]
fn durations_can_be_averaged_by_a_script_and_the_slow_instance_is_found() {
    let metrics = busy();
    let average = piped(
        &metrics,
        "grep 'mcp_request_duration_seconds' | awk '{sum+=$2; count++} END {print sum/count}'",
    );
    assert!(average.trim().parse::<f64>().is_ok(), "{average}");
    let slow = piped(&metrics, r#"grep -E "duration|latency""#);
    assert!(
        slow.contains("mcp_instance_latency_p95_seconds{instance=\"demo\"}"),
        "{slow}"
    );
    let watched = piped(&metrics, r#"grep "request_duration""#);
    assert!(
        watched
            .lines()
            .all(|line| line.contains("mcp_request_duration_seconds")),
        "{watched}"
    );
}

#[test]
fn each_line_has_two_columns() {
    let metrics = busy();
    metrics.set_fleet(three());
    metrics.count_error(ErrorKind::Internal);
    let wrong = piped(&metrics, r#"grep -v '^#' | awk 'NF != 2'"#);
    assert_eq!(wrong, "");
}
