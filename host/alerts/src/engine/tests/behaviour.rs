use super::*;
use crate::{
    delivery::{DeliveryProgress, DeliveryReport, FallbackCause, SinkHealth},
    notice::LISTED_MAX,
    settings::EscalationStep,
    silence::Silence,
    window::MaintenanceWindow,
};

fn on_instance(key: &str, severity: Severity) -> Condition {
    Condition {
        instance: Some(router_core::InstanceId::parse("demo").unwrap()),
        ..condition(key, "instance", severity)
    }
}

#[test]
fn a_p1_is_heard_of_at_once_and_repeated_until_somebody_is_on_it() {
    let mut bench = Bench::settled(settings());
    let t0 = bench.now_ms;
    bench.raise(condition("a", "n", Severity::P1));
    bench.run(31 * MIN);
    assert_eq!(
        bench.take_sent(t0),
        [
            "0 chat firing a#1",
            "0 pager firing a#1",
            "900 chat reminder a#1",
            "900 pager reminder a#1",
            "1800 chat reminder a#1",
            "1800 pager reminder a#1",
        ]
    );
    bench.acknowledge("a").unwrap();
    bench.run(4 * HOUR - S);
    let acknowledged = ["1860 chat acknowledged a#1", "1860 pager acknowledged a#1"];
    assert_eq!(bench.take_sent(t0), acknowledged);
    // Four hours later nobody is any more.
    bench.run(16 * MIN);
    let sent = bench.take_sent(t0);
    let expired = ["16260 chat reminder a#1", "16260 pager reminder a#1"];
    assert_eq!(sent[..2], expired);
    assert_eq!(sent.len(), 4, "{sent:?}");
    bench.holds.clear();
    bench.run(MIN);
    assert_eq!(bench.state("a"), "resolved");
    let sent = bench.take_sent(t0);
    assert!(
        sent.iter().all(|line| line.contains(" resolved a#1")) && sent.len() == 2,
        "{sent:?}"
    );
    assert!(bench.audited.iter().all(|(_, findings)| *findings == 0));
}

#[test]
fn what_is_not_named_for_long_enough_is_over_and_not_before() {
    let mut bench = Bench::settled(settings());
    bench.raise(condition("a", "n", Severity::P2));
    bench.holds.clear();
    bench.run(39 * S);
    assert_eq!(bench.state("a"), "firing");
    bench.run(S);
    assert_eq!(
        bench.state("a"),
        "resolved",
        "gone since 10 s, in an answer 30 s later"
    );
}

#[test]
fn while_a_rule_does_not_answer_nothing_is_over_and_everything_escalates() {
    let mut bench = Bench::settled(settings());
    bench.raise(condition("a", "n", Severity::P1));
    (bench.answers, bench.now_ms) = (false, bench.now_ms);
    bench.holds.clear();
    bench.take_sent(START_MS);
    bench.run(HOUR);
    let alert = bench.engine.alert(AlertId::of("a")).unwrap();
    assert!(alert.is_open() && alert.is_stale());
    let sent = bench.take_sent(START_MS);
    let repeats = sent
        .iter()
        .filter(|line| line.ends_with("pager reminder a#1"));
    assert_eq!(repeats.count(), 4, "{sent:?}");
    assert_eq!(bench.state("router:evaluation-stalled"), "firing");
    assert!(
        bench.audited.last().unwrap().1 > 0,
        "no heartbeat without evaluation"
    );
    bench.answers = true;
    bench.run(2 * MIN);
    assert_eq!(bench.state("router:evaluation-stalled"), "resolved");
    assert_eq!(bench.state("a"), "resolved");
}

#[test]
fn a_condition_must_hold_as_long_as_it_says() {
    let mut bench = Bench::settled(settings());
    let slow = Condition {
        for_ms: 5 * MIN,
        ..condition("a", "n", Severity::P2)
    };
    bench.raise(slow.clone());
    bench.run(4 * MIN + 50 * S);
    assert_eq!(bench.state("a"), "pending");
    bench.holds.clear();
    bench.run(10 * S);
    assert_eq!(
        bench.state("a"),
        "none",
        "one answer without it and it begins anew"
    );
    bench.raise(slow);
    bench.run(5 * MIN + S);
    assert_eq!(bench.state("a"), "firing");
}

#[test]
fn those_that_belong_together_come_together() {
    let mut bench = Bench::settled(settings());
    let t0 = bench.now_ms;
    bench.raise(condition("a", "n", Severity::P3));
    bench.run(5 * S);
    bench.raise(condition("b", "n", Severity::P3));
    bench.raise(condition("other", "m", Severity::P3));
    bench.run(MIN);
    bench.raise(condition("c", "n", Severity::P3));
    bench.run(10 * MIN);
    assert_eq!(
        bench.take_sent(t0),
        [
            "10 chat firing b#1,a#1",
            "15 chat firing other#1",
            "310 chat more_firing c#1"
        ]
    );
    // The second P2 of a group waits, at a sink that groups.
    let t1 = bench.now_ms;
    bench.raise(condition("d", "p", Severity::P2));
    bench.run(10 * S);
    bench.raise(condition("e", "p", Severity::P2));
    bench.run(6 * MIN);
    assert_eq!(
        bench.take_sent(t1),
        [
            "0 chat firing d#1",
            "0 pager firing d#1",
            "10 pager firing e#1",
            "300 chat more_firing e#1",
        ]
    );
}

#[test]
fn a_group_of_many_is_counted_and_each_of_them_is_news() {
    let mut bench = Bench::settled(settings());
    for n in 0..250 {
        let key = format!("k{n}");
        bench
            .holds
            .insert(key.clone(), condition(&key, "n", Severity::P1));
    }
    bench.answer();
    let (_, delivery) = &bench.sent[0];
    let figures = (delivery.listed.len(), delivery.more, delivery.news.len());
    assert_eq!((&*delivery.sink, figures), ("chat", (LISTED_MAX, 150, 250)));
    assert_eq!(bench.sent.len(), 1 + 250);
}

#[test]
fn one_that_comes_and_goes_is_held_firing_until_it_is_quiet() {
    let mut bench = Bench::settled(settings());
    for _ in 0..5 {
        bench.raise(condition("a", "n", Severity::P1));
        bench.holds.clear();
        bench.run(MIN);
    }
    let alert = bench.engine.alert(AlertId::of("a")).unwrap();
    assert!(alert.flapping && alert.firing == 3, "{alert:?}");
    let sent = bench.take_sent(START_MS);
    assert_eq!(
        sent.iter()
            .filter(|line| line.contains("pager firing"))
            .count(),
        3
    );
    bench.run(14 * MIN);
    assert_eq!(bench.state("a"), "firing");
    bench.run(90 * S);
    assert_eq!(bench.state("a"), "resolved");
}

#[test]
fn a_severity_that_rises_while_somebody_is_on_it_is_another_firing() {
    let mut bench = Bench::settled(settings());
    bench.raise(condition("a", "n", Severity::P2));
    bench.acknowledge("a").unwrap();
    bench.run(MIN);
    bench.take_sent(START_MS);
    let t0 = bench.now_ms;
    bench.raise(condition("a", "n", Severity::P1));
    bench.run(S);
    let mut sent = bench.take_sent(t0);
    sent.sort();
    assert_eq!(
        sent,
        [
            "0 chat firing a#2",
            "0 chat resolved a#1",
            "0 pager firing a#2",
            "0 pager resolved a#1",
        ]
    );
    assert_eq!(bench.state("a"), "firing");
}

#[test]
fn a_lower_severity_takes_effect_only_when_it_lasts() {
    let mut bench = Bench::settled(settings());
    bench.raise(condition("a", "n", Severity::P1));
    bench.raise(condition("a", "n", Severity::P3));
    bench.run(14 * MIN);
    let severity = |bench: &Bench| bench.engine.alert(AlertId::of("a")).unwrap().severity;
    assert_eq!(severity(&bench), Severity::P1);
    bench.take_sent(START_MS);
    bench.run(6 * MIN);
    assert_eq!(severity(&bench), Severity::P3);
    let sent = bench.take_sent(START_MS);
    assert!(
        sent.iter()
            .any(|line| line.contains("chat severity_changed a#1")),
        "{sent:?}"
    );
}

#[test]
fn a_p1_of_the_fleet_mutes_its_instances() {
    let mut bench = Bench::settled(settings());
    let t0 = bench.now_ms;
    bench
        .holds
        .insert("i".to_owned(), on_instance("i", Severity::P2));
    bench.raise(condition("fleet", "n", Severity::P1));
    bench.run(MIN);
    let sent = bench.take_sent(t0);
    assert_eq!(sent, ["0 chat firing fleet#1", "0 pager firing fleet#1"]);
    bench.holds.remove("fleet");
    bench.run(MIN);
    let sent = bench.take_sent(t0);
    assert!(
        sent.iter().any(|line| line.contains("pager firing i#1")),
        "{sent:?}"
    );
}

#[test]
fn a_p1_of_the_fleet_that_is_about_to_fire_mutes_already() {
    for (for_ms, is_muting) in [(10 * S, true), (30 * S, true), (31 * S, false)] {
        let mut bench = Bench::settled(settings());
        let t0 = bench.now_ms;
        let instance = on_instance("i", Severity::P2);
        bench.holds.insert("i".to_owned(), instance);
        let fleet = condition("fleet", "n", Severity::P1);
        bench.raise(Condition { for_ms, ..fleet });
        bench.run(MIN);
        let sent = bench.take_sent(t0);
        let first = sent.first().map(String::as_str);
        let fleet_first = first.is_some_and(|line| line.contains("fleet#1"));
        assert_eq!(fleet_first, is_muting, "{for_ms}: {sent:?}");
    }
}

#[test]
fn a_p1_of_the_fleet_that_never_fires_mutes_no_longer() {
    let pending = |answers: bool| {
        let mut bench = Bench::settled(settings());
        let t0 = bench.now_ms;
        let instance = on_instance("i", Severity::P2);
        bench.holds.insert("i".to_owned(), instance);
        let fleet = condition("fleet", "n", Severity::P1);
        bench.raise(Condition {
            for_ms: 30 * S,
            ..fleet
        });
        assert_eq!(bench.take_sent(t0), Vec::<String>::new());
        bench.holds.remove("fleet");
        bench.answers = answers;
        bench.run(2 * MIN);
        bench.take_sent(t0)
    };
    // Its condition ends; and the rule that named it says nothing any more.
    for answers in [true, false] {
        let sent = pending(answers);
        let is_sent = sent.iter().any(|line| line.contains("pager firing i#1"));
        assert!(is_sent, "{answers}: {sent:?}");
    }
}

#[test]
fn a_silence_mutes_and_ends() {
    let mut bench = Bench::settled(settings());
    let silence = Silence {
        matcher: serde_json::from_str(r#"{"key": ["a*"]}"#).unwrap(),
        author: "ada".to_owned(),
        reason: "known".to_owned(),
        starts_ms: bench.now_ms,
        ends_ms: bench.now_ms + HOUR,
    };
    let t0 = bench.now_ms;
    assert!(matches!(
        bench.command(AlertVerb::AddSilence(silence.clone())),
        Ok(AlertDone::Silence(_))
    ));
    bench.raise(condition("a", "n", Severity::P1));
    assert_eq!(bench.engine.matching(&silence.matcher).count(), 1);
    bench.run(HOUR - S);
    assert_eq!(bench.take_sent(t0), [] as [&str; 0]);
    assert!(bench.audited.iter().all(|(_, findings)| *findings == 0));
    bench.run(S);
    assert_eq!(
        bench.take_sent(t0),
        ["3600 chat firing a#1", "3600 pager firing a#1"]
    );
    assert_eq!(bench.engine.silences().count(), 0);
    let everything = Silence {
        matcher: Matcher::default(),
        ..silence
    };
    assert!(bench.command(AlertVerb::AddSilence(everything)).is_err());
}

#[test]
fn a_maintenance_window_mutes_and_ends() {
    let weekly = MaintenanceWindow::parse("weekly", "Tue 00:30", HOUR, "UTC", Matcher::default());
    let mut bench = Bench::settled(AlertSettings {
        maintenance: vec![weekly.unwrap()],
        ..settings()
    });
    bench.run(40 * MIN);
    bench.raise(condition("a", "n", Severity::P1));
    bench.run(2 * HOUR);
    let sent = bench.take_sent(START_MS);
    assert_eq!(sent[..2], ["5400 chat firing a#1", "5400 pager firing a#1"]);
}

#[test]
fn a_chain_is_kept_as_it_was_and_leaves_out_who_has_heard() {
    let step = |after_ms, sinks: &[&str]| EscalationStep {
        after_ms,
        sinks: sinks.iter().map(|sink| (*sink).into()).collect(),
    };
    let mut settings = settings();
    settings.routes[0].escalation = Some("c".into());
    settings
        .sinks
        .insert("boss".into(), SinkSettings::default());
    let chain = vec![
        step(10 * MIN, &["pager"]),
        step(20 * MIN, &["pager", "boss"]),
    ];
    settings.escalations.insert("c".into(), chain);
    let mut bench = Bench::settled(settings.clone());
    let t0 = bench.now_ms;
    bench.raise(condition("a", "n", Severity::P1));
    bench.run(MIN);
    settings
        .escalations
        .insert("c".into(), vec![step(MIN, &["boss"])]);
    bench.step(AlertEvent::SettingsApplied(Box::new(settings)));
    bench.take_sent(t0);
    bench.run(46 * MIN);
    assert_eq!(
        bench.take_sent(t0),
        [
            "600 pager reminder a#1", // Nobody else is in the step.
            "1800 boss escalated a#1",
            "2700 boss reminder a#1", // The last step of a P1 is repeated, whole.
            "2700 pager reminder a#1",
        ]
    );
}

#[test]
fn what_somebody_closed_stays_closed_until_it_was_gone() {
    let mut bench = Bench::settled(settings());
    bench.raise(condition("a", "n", Severity::P2));
    let alert = AlertId::of("a");
    bench.command(AlertVerb::Resolve { alert }).unwrap();
    bench.run(HOUR);
    assert_eq!(bench.state("a"), "resolved");
    bench.holds.clear();
    bench.run(MIN);
    bench.take_sent(START_MS);
    bench.raise(condition("a", "n", Severity::P2));
    let sent = bench.take_sent(START_MS);
    assert!(
        sent.iter().any(|line| line.contains("pager firing a#2")),
        "{sent:?}"
    );
    // What is worse than what was closed is something else.
    bench.command(AlertVerb::Resolve { alert }).unwrap();
    bench.raise(condition("a", "n", Severity::P1));
    assert_eq!(bench.state("a"), "firing");
}

#[test]
fn a_rule_taken_out_ends_its_alerts() {
    let mut bench = Bench::settled(settings());
    bench.raise(condition("a", "n", Severity::P1));
    let without = AlertSettings {
        rules: Vec::new(),
        ..settings()
    };
    bench.take_sent(START_MS);
    bench.step(AlertEvent::SettingsApplied(Box::new(without)));
    assert_eq!(bench.state("a"), "resolved");
    assert_eq!(bench.take_sent(START_MS).len(), 2);
}

#[test]
fn only_a_whole_round_of_pages_ends_anything() {
    let mut bench = Bench::settled(settings());
    bench.raise(condition("a", "n", Severity::P1));
    bench.answers = false;
    let page = |bench: &mut Bench, round, number, names: bool| {
        let conditions = if names {
            bench.holds.values().cloned().collect()
        } else {
            Vec::new()
        };
        bench.step(AlertEvent::Answered(RuleAnswer {
            rule: "r".into(),
            round,
            page: FleetPage { number, count: 3 },
            conditions,
        }));
        bench.run(10 * S);
    };
    // The last page is never answered; or another one names it.
    for round in 100..110 {
        page(&mut bench, round, 0, false);
        page(&mut bench, round, 1, false);
    }
    for round in 110..120 {
        page(&mut bench, round, 2, true);
        page(&mut bench, round, 0, false);
        page(&mut bench, round, 1, false);
    }
    assert_eq!(bench.state("a"), "firing");
    for round in 120..124 {
        for number in 0..3 {
            page(&mut bench, round, number, false);
        }
    }
    assert_eq!(bench.state("a"), "resolved");
}

#[test]
fn a_fallback_that_may_have_the_firing_hears_its_end() {
    let mut settings = settings();
    settings
        .sinks
        .insert("spare".into(), SinkSettings::default());
    let mut bench = Bench::settled(settings);
    bench.raise(condition("a", "n", Severity::P1));
    let pager = bench.sent.iter().find(|(_, one)| &*one.sink == "pager");
    let first = pager.unwrap().1.clone();
    let report = |progress| {
        AlertEvent::Delivery(DeliveryReport {
            delivery: first.id.clone(),
            sink: "pager".into(),
            news: first.news.clone(),
            precedence: first.precedence,
            group_key: first.group_key.clone(),
            content: first.clone(),
            progress,
        })
    };
    bench.step(report(DeliveryProgress::FellBack {
        to: "spare".into(),
        delivery: first.id.for_sink("spare"),
        because: FallbackCause::Refused,
    }));
    // The pager itself refused it, and so hears no more.
    bench.step(report(DeliveryProgress::DeadLetter {
        reason: "400".to_owned(),
        may_have_arrived: false,
    }));
    bench.take_sent(START_MS);
    bench.holds.clear();
    bench.run(MIN);
    let sent = bench.take_sent(START_MS);
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(
        sent.iter()
            .all(|line| line.ends_with("resolved a#1") && !line.contains("pager"))
    );
}

#[test]
fn a_p1_that_nobody_could_deliver_is_an_alert() {
    let mut bench = Bench::settled(settings());
    bench.step(AlertEvent::Sink(SinkHealth {
        sink: "pager".into(),
        failing_since_ms: Some(bench.now_ms),
        gone: None,
    }));
    bench.run(59 * S);
    assert_eq!(bench.state("router:undeliverable:urgent"), "none");
    bench.run(12 * S);
    assert_eq!(bench.state("router:undeliverable:urgent"), "firing");
    bench.run(MIN);
    assert!(bench.audited.last().unwrap().1 > 0);
    let sink = "pager".into();
    bench.step(AlertEvent::Sink(SinkHealth {
        sink,
        failing_since_ms: None,
        gone: None,
    }));
    bench.run(2 * MIN);
    assert_eq!(bench.state("router:undeliverable:urgent"), "resolved");
    assert_eq!(bench.audited.last().unwrap().1, 0);
}

#[test]
fn an_acknowledgement_is_for_the_firing_that_it_names() {
    let mut bench = Bench::settled(settings());
    bench.raise(condition("a", "n", Severity::P1));
    let alert = AlertId::of("a");
    let firing = Some(2);
    let of_other = bench.command(AlertVerb::Acknowledge { alert, firing });
    assert_eq!(of_other, Err(AlertCommandError::FiringOver));
    assert_eq!(bench.acknowledge("b"), Err(AlertCommandError::UnknownAlert));
    assert_eq!(bench.state("a"), "firing");
    let firing = Some(1);
    bench
        .command(AlertVerb::Acknowledge { alert, firing })
        .unwrap();
    assert_eq!(bench.state("a"), "acknowledged");
}

#[test]
fn a_test_goes_where_such_an_alert_would_and_leaves_nothing_behind() {
    let mut bench = Bench::settled(settings());
    let (severity, sink) = (Severity::P2, None);
    let done = bench.command(AlertVerb::Test { severity, sink }).unwrap();
    assert!(matches!(done, AlertDone::Test(ids) if ids.len() == 2));
    assert!(
        bench
            .sent
            .iter()
            .all(|(_, one)| one.occasion.as_str() == "test")
    );
    assert_eq!(bench.engine.alerts().count(), 0);
    let sink = Some("nobody".into());
    let refused = bench.command(AlertVerb::Test { severity, sink });
    assert_eq!(refused, Err(AlertCommandError::UnknownSink));
}
