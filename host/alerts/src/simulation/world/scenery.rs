//! What a world is made of: its conditions, sinks, routes, chain and window.

use super::*;

/// `pager` takes P1 and P2 one by one, `chat` everything in groups; `boss` or `other` hears by the chain alone, `spare` as a
/// fallback.
pub(super) fn settings(dice: &mut Dice, window: Option<&Sunday>) -> AlertSettings {
    let sink = |name: &str, grouping| {
        let settings = SinkSettings {
            grouping,
            fallback: None,
        };
        (Arc::from(name), settings)
    };
    let step = |after_ms, sinks: &[&str]| EscalationStep {
        after_ms,
        sinks: sinks.iter().map(|sink| Arc::from(*sink)).collect(),
    };
    let urgent = Matcher {
        severity: vec![Severity::P1, Severity::P2],
        ..Matcher::default()
    };
    let chain = dice.chance(50).then(|| {
        let first_ms = dice.between(5, 20) * MIN;
        vec![
            step(first_ms, &["pager"]),
            step(20 * MIN, &["pager", "boss"]),
        ]
    });
    let maintenance = window.map(|one| {
        let zone = one.place.zone;
        MaintenanceWindow::parse("sunday", &one.at(), one.for_ms, zone, Matcher::default())
    });
    AlertSettings {
        rules: vec![rule_name(0), rule_name(1)],
        sinks: [
            sink("pager", Grouping::None),
            sink("chat", Grouping::Group),
            sink("boss", Grouping::Group),
            sink("other", Grouping::Group),
            sink("spare", Grouping::Group),
        ]
        .into(),
        routes: vec![
            AlertRoute {
                name: "urgent".into(),
                matcher: urgent,
                continues: true,
                sinks: vec!["pager".into()],
                escalation: chain.is_some().then(|| "chain".into()),
            },
            AlertRoute {
                name: "all".into(),
                matcher: Matcher::default(),
                continues: false,
                sinks: vec!["chat".into()],
                escalation: None,
            },
        ],
        escalations: chain
            .map(|steps| ("chain".into(), steps))
            .into_iter()
            .collect(),
        maintenance: maintenance
            .into_iter()
            .map(|window| window.expect("a window on Sundays"))
            .collect(),
        ..AlertSettings::default()
    }
}

pub(super) fn levels(dice: &mut Dice, pages: u32) -> Vec<Level> {
    (0..dice.between(4, 9))
        .map(|_| {
            let rule = dice.between(0, 1) as usize;
            let page = dice.between(0, u64::from(pages) - 1) as u32;
            let given = dice.pick(&Severity::ALL);
            let mut level = Level::new(rule, page, dice.pick(&NAMES), given);
            level.has_instance = level.name != "fleet";
            level.for_ms = dice.pick(&[0, 0, 20 * S, 2 * MIN]);
            level
        })
        .collect()
}

pub(super) fn storm_condition(n: u64) -> Condition {
    Condition {
        key: format!("storm{n}"),
        name: "storm".to_owned(),
        severity: Severity::P3,
        summary: String::new(),
        remedy: String::new(),
        runbook_anchor: None,
        instance: None,
        for_ms: 0,
        attributes: Vec::new(),
    }
}

pub(super) fn rule_name(rule: usize) -> Arc<str> {
    ["first", "second"][rule].into()
}

pub(super) fn key(n: usize) -> String {
    format!("k{n}")
}
