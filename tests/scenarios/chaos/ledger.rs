//! What receivers took, in the order in which they took it, and what is wrong with that.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

/// A page may come twice where its router was killed this soon after it was taken: the receipt is on the disk in milliseconds, and on a
/// machine that does much else in a second or two.
const KEPT_WITHIN: Duration = Duration::from_secs(5);

/// What was on the way when its router was killed is taken a moment later.
const TAKEN_WITHIN: Duration = Duration::from_secs(1);

/// One firing: the key of its alert, and which time.
pub(crate) type Firing = (String, u32);

/// What a receiver hears of a firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum News {
    /// It fires.
    Fires,
    /// It is over.
    Over,
    /// It fired and is over.
    FiredAndOver,
}

/// Something that a receiver took.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) sink: &'static str,
    pub(crate) firing: Firing,
    pub(crate) news: News,
    /// By what the receiver drops repeats.
    pub(crate) id: String,
    pub(crate) at: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    taken: Mutex<Vec<Taken>>,
    /// Requests that no receiver of its kind takes.
    faults: Mutex<Vec<String>>,
}

impl Ledger {
    pub(crate) fn take(&self, taken: Taken) {
        self.taken.lock().push(taken);
    }

    pub(crate) fn refuse(&self, fault: String) {
        self.faults.lock().push(fault);
    }

    /// Whether a sink has heard of a firing, and whether it has heard of its end.
    pub(crate) fn heard(&self, sink: &str, firing: &Firing) -> (bool, bool) {
        let taken = self.taken.lock();
        let of_it = taken
            .iter()
            .filter(|one| one.sink == sink && one.firing == *firing);
        of_it.fold((false, false), |(fired, over), one| {
            (
                fired || one.news != News::Over,
                over || one.news != News::Fires,
            )
        })
    }

    /// How long after a time a sink took a firing that it has.
    pub(crate) fn taken_after(&self, sink: &str, firing: &Firing, since: &str) -> Duration {
        let taken = self.taken.lock();
        let mut of_it = taken
            .iter()
            .filter(|one| one.sink == sink && one.firing == *firing);
        let at = SystemTime::now() - of_it.next().unwrap().at.elapsed();
        let at_ms = at.duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let since_ms = router_values::parse_rfc3339_ms(since).unwrap();
        Duration::from_millis((at_ms - since_ms).max(0) as u64)
    }

    /// How often something was taken, and how often more than once.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let taken = self.taken.lock();
        let distinct: BTreeSet<_> = taken
            .iter()
            .map(|one| (one.sink, &one.firing, one.news))
            .collect();
        (taken.len(), taken.len() - distinct.len())
    }

    /// What is wrong with what was taken, given when routers were killed.
    pub(crate) fn wrongs(&self, kills: &[Instant]) -> Vec<String> {
        let mut wrongs = self.faults.lock().clone();
        let taken = self.taken.lock();
        let mut stories: BTreeMap<(&str, &Firing), Vec<&Taken>> = BTreeMap::new();
        for one in taken.iter() {
            stories
                .entry((one.sink, &one.firing))
                .or_default()
                .push(one);
        }
        for ((sink, (key, number)), story) in stories {
            let mut wrong = |what: &str| {
                let story: Vec<_> = story.iter().map(|one| (one.news, &one.id)).collect();
                wrongs.push(format!("{sink} {key}#{number}: {what}: {story:?}"));
            };
            if story[0].news == News::Over {
                wrong("its end came before it");
            }
            let first_end = story.iter().position(|one| one.news != News::Fires);
            if first_end.is_some_and(|end| story[end..].iter().any(|one| one.news == News::Fires)) {
                wrong("it fires after its end");
            }
            let mut last: BTreeMap<News, &Taken> = BTreeMap::new();
            for &one in &story {
                let Some(before) = last.insert(one.news, one) else {
                    continue;
                };
                if before.id != one.id {
                    wrong("it came under two ids");
                }
                let excuse = before.at - TAKEN_WITHIN..before.at + KEPT_WITHIN;
                let is_excused = |kill: &Instant| excuse.contains(kill) && *kill < one.at;
                if !kills.iter().any(is_excused) {
                    wrong("it came twice, and nobody had been killed");
                }
            }
        }
        wrongs
    }
}

#[test]
fn each_wrong_is_found() {
    let begun = Instant::now();
    let at = |seconds| begun + Duration::from_secs(seconds);
    let taken = |(news, id, seconds): (News, &str, u64)| Taken {
        sink: "pager",
        firing: ("a".to_owned(), 1),
        news,
        id: id.to_owned(),
        at: at(seconds),
    };
    let check = |story: &[(News, &str, u64)], kills: &[u64], wrong: Option<&str>| {
        let ledger = Ledger::default();
        story
            .iter()
            .copied()
            .for_each(|one| ledger.take(taken(one)));
        let kills: Vec<Instant> = kills.iter().copied().map(at).collect();
        let wrongs = ledger.wrongs(&kills);
        match wrong {
            None => assert!(wrongs.is_empty(), "{wrongs:?}"),
            Some(wrong) => assert!(wrongs.iter().any(|one| one.contains(wrong)), "{wrongs:?}"),
        }
    };
    use News::{FiredAndOver, Fires, Over};
    check(&[(Fires, "x", 0), (Over, "y", 1)], &[], None);
    check(
        &[(Fires, "x", 0), (Fires, "x", 2), (Over, "y", 3)],
        &[1],
        None,
    );
    check(
        &[(FiredAndOver, "x", 0), (FiredAndOver, "x", 2)],
        &[1],
        None,
    );
    check(&[(Over, "y", 1)], &[], Some("before it"));
    check(&[(Over, "y", 0), (Fires, "x", 1)], &[], Some("before it"));
    check(
        &[
            (FiredAndOver, "x", 0),
            (Over, "x", 0),
            (FiredAndOver, "x", 2),
            (Over, "x", 2),
        ],
        &[1],
        None,
    );
    check(
        &[(Fires, "x", 0), (Over, "y", 1), (Fires, "x", 3)],
        &[2],
        Some("after its end"),
    );
    check(&[(Fires, "x", 0), (Fires, "z", 2)], &[1], Some("two ids"));
    check(
        &[(Fires, "x", 0), (Fires, "x", 2)],
        &[],
        Some("nobody had been killed"),
    );
    check(
        &[(Fires, "x", 0), (Fires, "x", 20)],
        &[10],
        Some("nobody had been killed"),
    );
    check(
        &[(Fires, "x", 5), (Fires, "x", 6)],
        &[1, 7],
        Some("nobody had been killed"),
    );
}
