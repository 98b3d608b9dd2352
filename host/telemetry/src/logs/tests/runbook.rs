//! The operator's greps, run on the real file and on standard output, in both formats.

use std::{fs, process::Command};

use super::{Bench, LogFormat};

/// One line of each sort that an operator greps for, as the rooms log them.
fn a_bad_night() {
    tracing::info!(instance = "demo", state = "ready", "instance state changed");
    tracing::error!(
        instance = "demo",
        error = "Spawn failed: EADDRINUSE: Address already in use",
        "instance could not be started"
    );
    tracing::warn!(
        instance = "42",
        kind = "timeout",
        elapsed_ms = 300_000,
        "request failed"
    );
    tracing::warn!(
        instance = "42",
        kind = "validation",
        reason = "no such method",
        "request refused"
    );
    tracing::warn!(
        instance = "42",
        kind = "breaker",
        state = "OPEN",
        "circuit breaker changed its state"
    );
    tracing::info!(
        instance = "42",
        kind = "breaker",
        state = "HALF_OPEN",
        "circuit breaker changed its state"
    );
    tracing::info!(instance = "42", "a probe was admitted");
    tracing::error!(kind = "database", "no available connections in pool");
    tracing::error!(
        instance = "demo",
        "Instance has exceeded max restart attempts. Entering crash loop protection."
    );
    tracing::info!(
        kind = "audit",
        who = "loopback",
        action = "restart",
        instance = "demo",
        "operator command"
    );
}

#[test]
fn each_grep_finds_its_lines_in_both_formats() {
    // The command as an operator types it, and how many lines it prints.
    let cases = [
        ("grep ERROR logs/godot-mcp-router.log | tail -20", 3),
        ("grep TIMEOUT logs/godot-mcp-router.log | tail -20", 1),
        ("grep VALIDATION logs/godot-mcp-router.log | tail -20", 1),
        (
            r#"grep "circuit breaker" logs/godot-mcp-router.log | tail -20"#,
            2,
        ),
        (
            r#"tail -100 logs/godot-mcp-router.log | grep -A5 "HALF_OPEN""#,
            5,
        ),
        (r#"grep "AUDIT" logs/godot-mcp-router.log | head -20"#, 1),
        (r#"cat stdout | grep "version_id: demo" | tail -50"#, 4),
        (r#"cat stdout | grep "version_id: 42" | tail -50"#, 5),
        ("grep 'Spawn failed: ' logs/godot-mcp-router.log", 1),
        (
            "grep 'no available connections in pool' logs/godot-mcp-router.log",
            1,
        ),
        (
            "grep 'Instance has exceeded max restart attempts. Entering crash loop protection.' logs/godot-mcp-router.log",
            1,
        ),
    ];
    for format in [LogFormat::Text, LogFormat::Json] {
        let bench = Bench::new(|options| options.format = format);
        bench.log(a_bad_night);
        let (stdout, dir) = bench.finish();
        fs::write(dir.path().join("stdout"), stdout).unwrap();
        for (command, expected) in cases {
            let output = Command::new("sh")
                .args(["-c", command])
                .current_dir(dir.path())
                .output()
                .unwrap();
            let shown = String::from_utf8(output.stdout).unwrap();
            assert_eq!(
                shown.lines().count(),
                expected,
                "{format:?}: {command}\n{shown}"
            );
        }
    }
}

#[test]
fn json_lines_can_be_queried_by_field() {
    let bench = Bench::new(|options| options.format = LogFormat::Json);
    bench.log(a_bad_night);
    let (stdout, _dir) = bench.finish();
    let lines = stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let errors = lines.filter(|line| line["level"] == "ERROR" && line["instance"] == "demo");
    assert_eq!(errors.count(), 2);
}

#[test]
fn cleaning_up_by_age_finds_rotated_files_and_spares_the_present_one() {
    let bench = Bench::new(|_| {});
    bench.log(|| tracing::info!("old"));
    bench.wait_for("old");
    bench.pass(super::DAY_MS);
    bench.log(|| tracing::info!("new"));
    bench.wait_for("new");
    let touched = Command::new("touch")
        .args(["-d", "40 days ago"])
        .arg(bench.logs().join("godot-mcp-router.2026-01-02.log"))
        .status()
        .unwrap();
    assert!(touched.success());
    let (_, dir) = bench.finish();
    let found = Command::new("sh")
        .args([
            "-c",
            r#"find logs -name "*.log" -mtime +30 -delete; ls logs"#,
        ])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(found.stdout).unwrap(),
        "godot-mcp-router.log\n"
    );
}
