//! Which row a tool goes by, and what a change of the plan or of the list leaves as it was.

use std::sync::Arc;

use super::{ToolBreakers, fitting};
use crate::{
    breaker::plan::{BreakerPlan, ToolRow, builtin},
    classify::ClassTable,
    settings::BreakerThresholds,
};

fn row(tool: &str, slow_ms: u64) -> ToolRow {
    ToolRow {
        tool: tool.to_owned(),
        table: ClassTable::new(Vec::new(), Some(slow_ms)),
    }
}

fn plan(rows: &[(&str, u64)]) -> Arc<BreakerPlan> {
    Arc::new(BreakerPlan {
        tools: rows
            .iter()
            .map(|(tool, slow_ms)| row(tool, *slow_ms))
            .collect(),
        ..builtin(&BreakerThresholds::default())
    })
}

fn list(tools: &[&str]) -> Arc<[String]> {
    tools.iter().map(|tool| (*tool).to_owned()).collect()
}

fn guarded(tools: &ToolBreakers) -> Vec<(&str, Option<u64>)> {
    let held = tools.held.iter();
    held.map(|(tool, held)| (&**tool, held.classes.slow_ms()))
        .collect()
}

#[test]
fn the_exact_name_comes_before_the_longest_beginning() {
    let rows = [
        row("*", 1),
        row("render_*", 2),
        row("render_a*", 3),
        row("render_ab", 4),
    ];
    let check = |tool: &str, slow_ms: Option<u64>| {
        let row = fitting(&rows, tool);
        assert_eq!(row.and_then(|row| row.table.slow_ms()), slow_ms, "{tool}");
    };
    check("render_ab", Some(4));
    check("render_abc", Some(3));
    check("render_b", Some(2));
    check("render", Some(1));
    assert!(fitting(&rows[1..], "export").is_none());
    // A star elsewhere is a star.
    assert!(fitting(&[row("a*b", 1)], "axb").is_none());
}

#[test]
fn tools_that_are_listed_and_fit_are_guarded_and_no_others() {
    let mut tools = ToolBreakers::default();
    tools.sync(0, None, Some(&list(&["render", "search"])));
    assert!(
        tools.is_settled() && tools.listed.is_none(),
        "without rows nothing is kept"
    );
    let rows = plan(&[("render", 5), ("no_such", 6)]);
    let listed = list(&["render", "search"]);
    tools.sync(0, Some(&rows), Some(&listed));
    assert_eq!(guarded(&tools), [("render", Some(5))]);
    // While nothing is ready the last list holds.
    tools.is_set_new = false;
    tools.sync(0, Some(&rows), None);
    assert!(!tools.is_set_new);
    tools.sync(0, Some(&plan(&[("s*", 7)])), None);
    assert_eq!(guarded(&tools), [("search", Some(7))]);
    tools.sync(0, None, None);
    assert_eq!(guarded(&tools), []);
    assert!(
        tools.is_set_new,
        "that there are none any more is to be published"
    );
}

#[test]
fn a_tool_that_stays_guarded_keeps_its_state() {
    let mut tools = ToolBreakers::default();
    let listed = list(&["render", "search"]);
    tools.sync(0, Some(&plan(&[("*", 5)])), Some(&listed));
    tools.held.get_mut("render").unwrap().breaker.isolate(1);
    tools.sync(
        2,
        Some(&plan(&[("render", 9)])),
        Some(&list(&["render", "export"])),
    );
    assert_eq!(guarded(&tools), [("render", Some(9))]);
    assert!(tools.held["render"].breaker.isolated());
}

#[test]
fn no_more_than_256_are_guarded() {
    let listed: Arc<[String]> = (0..300).map(|n| format!("tool_{n:03}")).collect();
    let mut tools = ToolBreakers::default();
    tools.sync(0, Some(&plan(&[("*", 5)])), Some(&listed));
    assert_eq!(tools.count(), 256);
}
