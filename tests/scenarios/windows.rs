//! Windows of time under one load: whether its clients notice something.
//!
//! No speed is asserted by itself. The same clients call all the while. In every round there is a window of time in which nothing is
//! wrong, and one for each kind of trouble, compared with it; the median of a kind's ratios has to stay below the bound, once. What else
//! the machine does meets all windows alike: it may part two of them by far, to either side, and does not move the median.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use router_tests::{Load, Router, load::Plan};

/// So long that a call which is cut after its 50 ms fills the fortieth part of it: the bound is meant for such a window. In a shorter one
/// the same guest has a larger share of the requests.
const WINDOW: Duration = Duration::from_secs(2);

/// The windows in which nothing is wrong.
const QUIET: &str = "nothing wrong";

/// See the module.
pub(crate) struct Windows {
    load: Load,
    window: Duration,
    times: BTreeMap<&'static str, Vec<Range<Instant>>>,
}

impl Windows {
    /// Under the load of clients of this instance.
    pub(crate) async fn begin(router: &Router, instance: &str) -> Self {
        // Fewer clients than would fill the machine: a full one measures its own queue.
        let plan = Plan::clients(4).paused(Duration::from_micros(500));
        let path = format!("/mcp/{instance}");
        Self {
            load: Load::start(router.address(), &path, &plan).await,
            window: WINDOW,
            times: BTreeMap::new(),
        }
    }

    /// Windows of another length.
    pub(crate) fn each(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// One window: what is done at its beginning, and what is waited for before its end.
    pub(crate) async fn add(
        &mut self,
        what: &'static str,
        first: impl AsyncFnOnce(),
        last: impl AsyncFnOnce(),
    ) {
        let begun = Instant::now();
        first().await;
        tokio::time::sleep(self.window.saturating_sub(begun.elapsed())).await;
        last().await;
        let times = self.times.entry(what).or_default();
        times.push(begun..Instant::now());
    }

    /// One window in which nothing is wrong.
    pub(crate) async fn add_quiet(&mut self) {
        self.add(QUIET, async || {}, async || {}).await;
    }

    /// Ends the load. No request failed, and the 99th percentile stayed within so many times of what it was where nothing was wrong.
    #[allow(clippy::print_stdout, reason = "figures for people")]
    pub(crate) async fn assert_alike(self, router: &Router, ratio_max: impl Fn(&str) -> f64) {
        let tally = self.load.stop().await;
        tally.assert_clean(1_000);
        let p99s = |what: &str| -> Vec<u32> {
            let times = self.times[what].iter();
            times.map(|time| tally.percentile_us(0.99, time)).collect()
        };
        let quiet = p99s(QUIET);
        println!("{QUIET}: p99 in us {quiet:?}");
        let mut noticed = Vec::new();
        for &what in self.times.keys().filter(|&&what| what != QUIET) {
            let p99s = p99s(what);
            let pairs = p99s.iter().zip(&quiet);
            let mut ratios: Vec<f64> = pairs
                .map(|(&p99, &quiet)| f64::from(p99) / f64::from(quiet))
                .collect();
            assert_eq!(ratios.len(), quiet.len(), "{what}");
            ratios.sort_by(f64::total_cmp);
            let ratio = ratios[ratios.len() / 2];
            let line = format!("{what}: ratio {ratio:.2}, p99 in us {p99s:?}");
            println!("{line}");
            if ratio > ratio_max(what) {
                noticed.push(line);
            }
        }
        assert!(
            noticed.is_empty(),
            "noticed: {noticed:#?}, beside {quiet:?} with {QUIET}\n{}",
            router.tail()
        );
    }
}
