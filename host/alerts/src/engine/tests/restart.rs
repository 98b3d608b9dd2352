use super::*;

/// The journal as the next router reads it.
fn read_back(records: &[Record]) -> Vec<Record> {
    let text = serde_json::to_string(records).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_restart_says_nothing_that_was_said_and_forgets_nothing() {
    let mut bench = Bench::settled(settings());
    bench.raise(condition("a", "n", Severity::P1));
    bench.raise(condition("b", "n", Severity::P3));
    bench.raise(condition("c", "m", Severity::P2));
    bench.acknowledge("c").unwrap();
    bench.run(5 * MIN);
    let holds = bench.holds.clone();
    for journal in [read_back(&bench.records), vec![bench.engine.snapshot()]] {
        let mut next = Bench::starting(settings(), bench.now_ms + S, journal);
        next.holds = holds.clone();
        next.run(9 * MIN);
        assert_eq!(next.take_sent(START_MS), [] as [&str; 0]);
        let states = ["a", "b", "c"].map(|key| next.state(key));
        assert_eq!(states, ["firing", "firing", "acknowledged"]);
        next.run(3 * MIN);
        let repeat = next.take_sent(START_MS);
        assert!(
            repeat.len() == 2 && repeat[0].contains("chat reminder a#1"),
            "{repeat:?}"
        );
        next.holds.clear();
        next.run(10 * MIN);
        let ends = next.take_sent(START_MS);
        assert!(
            ends.iter().all(|line| line.contains("resolved")) && ends.len() == 5,
            "{ends:?}"
        );
    }
}

#[test]
fn nobody_hears_of_a_p3_before_every_rule_has_answered() {
    let mut settings = settings();
    settings.rules.push("slow".into());
    let mut bench = Bench::starting(settings, START_MS, Vec::new());
    bench
        .holds
        .insert("a".to_owned(), condition("a", "n", Severity::P2));
    bench
        .holds
        .insert("b".to_owned(), condition("b", "n", Severity::P1));
    bench.run(59 * S);
    let sent = bench.take_sent(START_MS);
    assert_eq!(sent, ["1 chat firing b#1", "1 pager firing b#1"]);
    bench.run(2 * S);
    let sent = bench.take_sent(START_MS);
    assert!(sent.contains(&"60 pager firing a#1".to_owned()), "{sent:?}");
}

#[test]
fn a_journal_that_comes_late_is_taken_in() {
    let mut bench = Bench::settled(settings());
    bench.raise(condition("a", "n", Severity::P1));
    bench.run(MIN);
    let mut next = Bench {
        engine: AlertEngine::new(settings(), bench.now_ms),
        ..Bench::starting(settings(), bench.now_ms, Vec::new())
    };
    next.holds = bench.holds.clone();
    next.step(AlertEvent::Tick);
    next.run(5 * S);
    assert_eq!(next.take_sent(START_MS).len(), 2, "nobody waits for ever");
    next.step(AlertEvent::JournalRead(read_back(&bench.records)));
    next.run(MIN);
    assert_eq!(next.take_sent(START_MS), [] as [&str; 0]);
    next.holds.clear();
    next.run(MIN);
    let ends = next.take_sent(START_MS);
    assert_eq!(ends.len(), 2, "{ends:?}");
}

#[test]
fn numbers_of_firings_go_on_after_all_was_forgotten() {
    let mut bench = Bench::settled(settings());
    for firing in 1..4 {
        bench.raise(condition("a", "n", Severity::P1));
        let alert = bench.engine.alert(AlertId::of("a")).unwrap();
        assert_eq!(alert.firing, firing);
        bench.holds.clear();
        bench.run(20 * MIN);
        assert_eq!(bench.state("a"), "none");
        let journal = if firing == 1 {
            read_back(&bench.records)
        } else {
            vec![bench.engine.snapshot()]
        };
        bench = Bench::starting(settings(), bench.now_ms, journal);
        bench.run(10 * S);
    }
}
