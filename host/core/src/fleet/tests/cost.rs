//! What a step touches: as many instances in a large fleet as in a small one.

use super::{Event, autostart, key, spawned_run};
use crate::{
    Fleet, Now, Run,
    action::{Action, SlotAction},
    event::{FleetEvent, PolicyEvent, Sample, SlotEvent, TrafficEvent},
    permit::BreakerTotals,
    policy::PolicyKind,
    settings::Settings,
    spec::Source,
};

/// So many running instances, each become ready at a millisecond of its own, and the run of `i5`.
fn fleet(size: u64) -> (Fleet, Run) {
    let (mut fleet, mut out) = (Fleet::new(Settings::default()), Vec::new());
    let specs = (0..size).map(|n| autostart(&format!("i{n}"))).collect();
    let source = Source::Config;
    let applied = FleetEvent::SpecsApplied { source, specs };
    fleet.step(Now::at(0), applied.into(), &mut out);
    fleet.step(Now::at(0), FleetEvent::AdoptionFinished.into(), &mut out);
    let spawned = out.into_iter().filter_map(|action| match action {
        Action::Slot {
            key,
            run,
            action: SlotAction::Spawn { .. },
        } => Some((key, run)),
        _ => None,
    });
    let mut of_i5 = None;
    for (n, (at, run)) in (0..).zip(spawned) {
        let tools = vec!["ping".to_owned()];
        // All within the time that a start may take.
        let now = Now::at(n * 9_000 / size);
        fleet.step(
            now,
            SlotEvent::Ready { tools }.on(at.clone(), run),
            &mut Vec::new(),
        );
        of_i5 = of_i5.or((at == key("i5")).then_some(run));
    }
    (fleet, of_i5.unwrap())
}

#[test]
fn a_step_settles_as_many_instances_in_a_large_fleet_as_in_a_small_one() {
    for size in [10, 10_000] {
        let (mut fleet, run) = fleet(size);
        let mut check = |event: Event, most: usize| {
            let (before, mut out) = (fleet.settled, Vec::new());
            let what = format!("{event:?} with {size} instances");
            fleet.step(Now::at(9_000), event, &mut out);
            let settled = fleet.settled - before;
            assert!(settled <= most, "{settled} settled: {what}");
            out
        };
        let (at, instance) = (key("i5"), key("i5").instance);
        check(Event::Tick, 0);
        check(TrafficEvent::Used(at.clone()).into(), 1);
        let totals = BreakerTotals::default();
        check(TrafficEvent::Counted { instance, totals }.into(), 1);
        check(
            SlotEvent::PingAnswered { rtt_ms: 1.0 }.on(at.clone(), run),
            1,
        );
        let sample = Sample::default();
        check(SlotEvent::Sampled { sample }.on(at.clone(), run), 1);
        check(FleetEvent::Disk(0.5).into(), 0);
        // Capacity is reckoned from counts that are kept.
        check(FleetEvent::LoadMeasured(Box::default()).into(), 0);
        check(PolicyEvent::Changed(PolicyKind::Capacity).into(), 0);
        let added = FleetEvent::SpecAdded(Box::new(autostart("new")));
        assert!(spawned_run(&check(added.into(), 1)).is_some());
        check(FleetEvent::SpecRemoved(key("new").instance).into(), 1);
        check(SlotEvent::ShimLost.on(at, run), 1);
        // What is due at one moment is what there is to do.
        let wake_ms = fleet.next_wake().unwrap();
        let (before, mut out) = (fleet.settled, Vec::new());
        fleet.step(Now::at(wake_ms), Event::Tick, &mut out);
        let settled = fleet.settled - before;
        assert!(
            (1..=out.len()).contains(&settled),
            "{settled} settled: {out:?}"
        );
    }
}
