//! What a plan may hold, and when a profile has changed much.

use super::{BreakerPlan, CallFigures, ToolRow, builtin};
use crate::{
    classify::{ClassTable, KindPattern},
    permit::Class,
    settings::BreakerThresholds,
};

fn rows(count: usize) -> ClassTable {
    let row = (KindPattern::ToolError, Class::Failure);
    ClassTable::new(vec![row; count], None)
}

fn tool(name: &str) -> ToolRow {
    ToolRow {
        tool: name.to_owned(),
        table: ClassTable::default(),
    }
}

/// Why a plan is refused that differs from the built-in one in this.
fn refused(change: impl FnOnce(&mut BreakerPlan)) -> String {
    let mut plan = builtin(&BreakerThresholds::default());
    assert_eq!(plan.check(), Ok(()));
    change(&mut plan);
    plan.check().unwrap_err().to_string()
}

#[test]
fn each_number_has_bounds_and_the_fault_names_both() {
    let check = |expected: &str, change: fn(&mut BreakerThresholds)| {
        let reason = refused(|plan| change(&mut plan.thresholds));
        assert_eq!(reason, format!("thresholds.{expected}"));
    };
    check("consecutive-failures is 0; expected 1 to 10000", |t| {
        t.consecutive_failures = 0;
    });
    check("window-ms is 999; expected 1000 to 3600000", |t| {
        t.window_ms = 999;
    });
    check("min-samples is 0; expected 1 to 1000000", |t| {
        t.min_samples = 0;
    });
    check("failure-share is NaN; expected 0.01 to 2", |t| {
        t.failure_share = f64::NAN;
    });
    check("failure-share is 0; expected 0.01 to 2", |t| {
        t.failure_share = 0.0;
    });
    check("slow-share is inf; expected 0.01 to 2", |t| {
        t.slow_share = f64::INFINITY;
    });
    check("slow-share is -1; expected 0.01 to 2", |t| {
        t.slow_share = -1.0;
    });
    check("slow-ms is 0; expected 1 to 31536000000", |t| {
        t.slow_ms = Some(0);
    });
    check(
        "open-first-ms is 18446744073709551615; expected 100 to 86400000",
        |t| t.open_first_ms = u64::MAX,
    );
    check("open-max-ms is 0; expected 100 to 86400000", |t| {
        t.open_max_ms = 0;
    });
    check(
        "open-max-ms is 29999; expected at least thresholds.open-first-ms, which is 30000",
        |t| t.open_max_ms = 29_999,
    );
    check("successes is 4294967295; expected 1 to 1000", |t| {
        t.successes = u32::MAX;
    });
    check("permits is 9; expected 1 to 8", |t| t.permits = 9);
    check("probe-timeout-ms is 99; expected 100 to 3600000", |t| {
        t.probe_ms = 99;
    });
    check("reset-after-ms is 999; expected 1000 to 86400000", |t| {
        t.forget_after_ms = 999;
    });
}

#[test]
fn lists_and_names_have_bounds() {
    let check = |expected: &str, change: &dyn Fn(&mut BreakerPlan)| {
        assert_eq!(refused(change), expected);
    };
    check("table has more than 64 rows", &|plan| {
        plan.table = rows(65);
    });
    check("table has more than 64 rows", &|plan| {
        plan.table = rows(10_000);
    });
    check("tools has more than 256 rows", &|plan| {
        plan.tools = vec![tool("a"); 257];
    });
    check("tools[1].table has more than 64 rows", &|plan| {
        let table = rows(65);
        plan.tools = vec![
            tool("a"),
            ToolRow {
                table,
                ..tool("get_*")
            },
        ];
    });
    check(
        "tools[0].slow-ms is 0; expected 1 to 31536000000",
        &|plan| {
            let table = ClassTable::new(Vec::new(), Some(0));
            plan.tools = vec![ToolRow { table, ..tool("a") }];
        },
    );
    let names = [
        ("", "expected the name of a tool, or its beginning and *"),
        ("get_*_all", "expected * at the end only"),
        ("**", "expected * at the end only"),
        ("a b", "expected neither blanks nor control characters"),
        ("a\u{0}", "expected neither blanks nor control characters"),
    ];
    for (name, why) in names {
        check(&format!("tools[0].tool is {name:?}; {why}"), &|plan| {
            plan.tools = vec![tool(name)];
        });
    }
    let long = "x".repeat(257);
    let reason = refused(|plan| plan.tools = vec![tool(&long)]);
    let shown = "x".repeat(64);
    assert_eq!(
        reason,
        format!("tools[0].tool is {shown:?}; expected at most 256 bytes")
    );
}

#[test]
fn what_is_at_its_bounds_is_taken() {
    let mut plan = builtin(&BreakerThresholds {
        permits: 8,
        failure_share: 2.0,
        slow_share: 0.01,
        slow_ms: Some(1),
        open_first_ms: 86_400_000,
        open_max_ms: 86_400_000,
        ..BreakerThresholds::default()
    });
    plan.table = rows(64);
    plan.tools = (0..255).map(|n| tool(&format!("tool_{n}"))).collect();
    plan.tools.push(tool("*"));
    assert_eq!(plan.check(), Ok(()));
}

#[test]
fn a_profile_has_changed_much_by_a_factor_or_a_step() {
    let before = CallFigures {
        calls_per_minute: 30.0,
        p50_ms: Some(20.0),
        p99_ms: Some(200.0),
        error_share: Some(0.05),
    };
    let check = |differs: bool, change: fn(&mut CallFigures)| {
        let mut later = before;
        change(&mut later);
        assert_eq!(before.differs_much(&later), differs, "{later:?}");
        assert_eq!(later.differs_much(&before), differs, "{later:?}");
    };
    check(false, |_| {});
    check(false, |f| f.calls_per_minute = 59.0);
    check(true, |f| f.calls_per_minute = 60.0);
    check(true, |f| f.calls_per_minute = 0.0);
    check(false, |f| f.p50_ms = Some(39.0));
    check(true, |f| f.p50_ms = Some(40.0));
    check(true, |f| f.p99_ms = Some(90.0));
    check(true, |f| f.p99_ms = None);
    check(false, |f| f.error_share = Some(0.14));
    check(true, |f| f.error_share = Some(0.16));
    check(true, |f| f.error_share = None);
    // Little of something is not much, however often it doubles.
    let idle = CallFigures::default();
    let few = CallFigures {
        calls_per_minute: 9.0,
        ..idle
    };
    assert!(!idle.differs_much(&few));
}
