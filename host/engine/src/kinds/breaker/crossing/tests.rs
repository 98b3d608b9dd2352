//! What comes over, what is left out, and that nothing out of bounds is cut into bounds.

use router_core::{
    breaker::plan::{BreakerPlan, PlanMode, builtin},
    classify::KindPattern,
    permit::Class,
    settings::BreakerThresholds,
};

use super::{from_wit, thresholds_from_wit, thresholds_to_wit, wit};

fn row(outcome: wit::Outcome, meaning: wit::Meaning) -> wit::Classification {
    wit::Classification {
        outcome,
        meaning,
        attributes: Vec::new(),
    }
}

/// The plan of the built-in default.
fn plan() -> wit::Plan {
    wit::Plan {
        thresholds: thresholds_to_wit(&BreakerThresholds::default()),
        table: Vec::new(),
        tools: Vec::new(),
        mode: wit::Mode::Enforce,
        reason: builtin(&BreakerThresholds::default()).reason,
        attributes: Vec::new(),
    }
}

fn tool(name: &str) -> wit::ToolRows {
    wit::ToolRows {
        tool: name.to_owned(),
        slow_ms: Some(50),
        table: vec![row(wit::Outcome::ToolError, wit::Meaning::Failure)],
        attributes: Vec::new(),
    }
}

#[test]
fn each_number_crosses_both_ways() {
    // Each another one, so that none can stand in the place of another.
    let thresholds = BreakerThresholds {
        consecutive_failures: 1,
        window_ms: 2_000,
        min_samples: 3,
        failure_share: 0.4,
        slow_share: 0.5,
        slow_ms: Some(6),
        open_first_ms: 700,
        open_max_ms: 800,
        successes: 9,
        permits: 2,
        probe_ms: 1_100,
        forget_after_ms: 1_200,
    };
    let crossed = thresholds_from_wit(&thresholds_to_wit(&thresholds));
    assert_eq!(crossed, thresholds);
    assert_eq!(from_wit(plan()), builtin(&BreakerThresholds::default()));
}

#[test]
fn rows_cross_but_for_those_that_fit_nothing() {
    let conditional = wit::Classification {
        attributes: vec![("era".to_owned(), "modern".to_owned())],
        ..row(wit::Outcome::Answered, wit::Meaning::Failure)
    };
    let mut answered = plan();
    answered.thresholds.slow_ms = Some(900);
    answered.mode = wit::Mode::Other("shadow".to_owned());
    answered.table = vec![
        row(wit::Outcome::ErrorCode(Some(-32603)), wit::Meaning::Failure),
        conditional,
        row(
            wit::Outcome::Other("sampled".to_owned()),
            wit::Meaning::Ignore,
        ),
        row(wit::Outcome::ErrorCode(None), wit::Meaning::Ignore),
        row(wit::Outcome::TimedOut, wit::Meaning::Success),
        row(wit::Outcome::Disconnected, wit::Meaning::Success),
        row(wit::Outcome::Died, wit::Meaning::Success),
        row(wit::Outcome::BadAnswer, wit::Meaning::Success),
        row(wit::Outcome::Cancelled, wit::Meaning::Success),
    ];
    answered.tools = vec![tool("get_*")];
    let plan = from_wit(answered);
    let expected = [
        (KindPattern::RpcError(Some(-32603)), Class::Failure),
        (KindPattern::RpcError(None), Class::Ignore),
        (KindPattern::Timeout, Class::Success),
        (KindPattern::Socket, Class::Success),
        (KindPattern::UpstreamDied, Class::Success),
        (KindPattern::BadAnswer, Class::Success),
        (KindPattern::Cancelled, Class::Success),
    ];
    assert_eq!(plan.table.rules(), expected);
    assert_eq!(plan.table.slow_ms(), Some(900));
    assert_eq!(plan.mode, PlanMode::Observe);
    let [tool] = &plan.tools[..] else {
        panic!("{plan:?}");
    };
    assert_eq!(
        (tool.tool.as_str(), tool.table.slow_ms()),
        ("get_*", Some(50))
    );
    assert_eq!(
        tool.table.rules(),
        [(KindPattern::ToolError, Class::Failure)]
    );
}

#[test]
fn what_is_too_long_is_refused_however_long_it_is() {
    let refused = |change: fn(&mut wit::Plan)| {
        let mut answered = plan();
        change(&mut answered);
        let plan: BreakerPlan = from_wit(answered);
        assert!(plan.reason.len() <= 1024 && plan.tools.len() <= 257);
        plan.check().map_err(|fault| fault.to_string())
    };
    let rows = refused(|plan| {
        plan.table = vec![row(wit::Outcome::Died, wit::Meaning::Failure); 10_000];
    });
    assert_eq!(rows.unwrap_err(), "table has more than 64 rows");
    let tools = refused(|plan| plan.tools = vec![tool("a"); 10_000]);
    assert_eq!(tools.unwrap_err(), "tools has more than 256 rows");
    let name = refused(|plan| plan.tools = vec![tool(&"é".repeat(5_000))]);
    let name = name.unwrap_err();
    assert!(name.ends_with("expected at most 256 bytes"), "{name}");
    assert_eq!(refused(|plan| plan.reason = "ü".repeat(9_000)), Ok(()));
    let nan = refused(|plan| plan.thresholds.failure_share = f64::NAN);
    let nan = nan.unwrap_err();
    assert!(nan.starts_with("thresholds.failure-share is NaN"), "{nan}");
}
