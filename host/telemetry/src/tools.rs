//! Calls of one instance, by tool: what a breaker policy learns of each.
//!
//! A client can name any tool, so only those of the instance's list are counted apart, and not more of them than [`TOOLS_MAX`]; all
//! others share one window. A window takes no memory until its tool was called: 1.7 MB for an instance whose tools are all called.

use std::{collections::HashMap, sync::Arc};

use router_core::Now;

use crate::window::{CoarseWindow, Figures, Mark, WindowSum};

/// Tools that are counted apart. Twice as many as a policy is shown, so that the busiest are found in a list that is longer.
const TOOLS_MAX: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ToolMeters {
    by_name: HashMap<Arc<str>, Arc<CoarseWindow>>,
    others: Arc<CoarseWindow>,
}

/// What the tools of an instance were like over the last five minutes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ToolFigures {
    /// Those that were called, the busiest first; of equally busy ones in the order of their names.
    pub busiest: Vec<(Arc<str>, Figures)>,
    /// How many more were called and are in the list.
    pub more: usize,
    /// These and all other calls, taken together.
    pub rest: Figures,
}

impl ToolMeters {
    /// Meters for these tools. Those that were there `before` go on.
    pub(crate) fn new(tools: &[Arc<str>], before: Option<&Self>) -> Self {
        let held = |tool: &Arc<str>| Some(Arc::clone(before?.by_name.get(tool)?));
        let apart = tools.iter().take(TOOLS_MAX);
        Self {
            by_name: apart
                .map(|tool| (Arc::clone(tool), held(tool).unwrap_or_default()))
                .collect(),
            others: before.map_or_else(Arc::default, |before| Arc::clone(&before.others)),
        }
    }

    pub(crate) fn record(&self, tool: &str, now: Now, mark: Mark) {
        let window = self.by_name.get(tool).unwrap_or(&self.others);
        window.record(now, mark);
    }

    pub(crate) fn figures(&self, now: Now, busiest_max: usize) -> ToolFigures {
        let sum_of = |window: &CoarseWindow| {
            let mut sum = WindowSum::default();
            window.add_to(&mut sum, now);
            sum
        };
        let called = self.by_name.iter();
        let called = called.filter(|(_, window)| window.is_used());
        let mut called: Vec<_> = called
            .map(|(tool, window)| (tool, window.figures(now)))
            .filter(|(_, figures)| figures.requests > 0)
            .collect();
        called.sort_unstable_by(|(a, figures_a), (b, figures_b)| {
            let busier = figures_b.requests.cmp(&figures_a.requests);
            busier.then_with(|| a.cmp(b))
        });
        let more = called.split_off(busiest_max.min(called.len()));
        let mut rest = sum_of(&self.others);
        for (tool, _) in &more {
            rest.add(&sum_of(&self.by_name[*tool]));
        }
        ToolFigures {
            busiest: called
                .into_iter()
                .map(|(tool, figures)| (Arc::clone(tool), figures))
                .collect(),
            more: more.len(),
            rest: rest.figures(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use router_core::Now;

    use super::{TOOLS_MAX, ToolMeters};
    use crate::window::Mark;

    const NOW: Now = Now::at(1_000);

    fn names(count: usize) -> Vec<Arc<str>> {
        (0..count).map(|n| format!("tool-{n:04}").into()).collect()
    }

    fn call(tools: &ToolMeters, tool: &str, times: u64) {
        let elapsed = Duration::from_millis(100);
        for n in 0..times {
            let is_error = n % 4 == 0;
            tools.record(tool, NOW, Mark::Ended { elapsed, is_error });
        }
    }

    #[test]
    fn the_busiest_come_first_and_the_rest_is_summed() {
        let tools = ToolMeters::new(&names(3), None);
        assert_eq!(tools.figures(NOW, 2), super::ToolFigures::default());
        call(&tools, "tool-0002", 40);
        call(&tools, "tool-0000", 20);
        call(&tools, "tool-0001", 20);
        let found = tools.figures(NOW, 2);
        let calls: Vec<_> = found
            .busiest
            .iter()
            .map(|(tool, figures)| (&**tool, figures.requests))
            .collect();
        assert_eq!(calls, [("tool-0002", 40), ("tool-0000", 20)]);
        let busiest = found.busiest[0].1;
        assert_eq!(busiest.error_rate, Some(0.25));
        let p99 = busiest.p99_ms.unwrap();
        assert!((87.5..=112.5).contains(&p99), "{p99}");
        assert_eq!((found.more, found.rest.requests), (1, 20));
        let all = tools.figures(NOW, 3);
        assert_eq!((all.busiest.len(), all.more, all.rest.requests), (3, 0, 0));
    }

    #[test]
    fn names_that_clients_invent_share_one_window_and_so_does_what_is_past_the_bound() {
        let tools = ToolMeters::new(&names(TOOLS_MAX + 100), None);
        for n in 0..10_000 {
            call(&tools, &format!("invented-{n}"), 1);
        }
        for tool in names(TOOLS_MAX + 100) {
            call(&tools, &tool, 1);
        }
        assert_eq!(tools.by_name.len(), TOOLS_MAX);
        let found = tools.figures(NOW, 256);
        assert_eq!((found.busiest.len(), found.more), (256, TOOLS_MAX - 256));
        let beyond = (TOOLS_MAX - 256 + 100 + 10_000) as u64;
        assert_eq!(found.rest.requests, beyond);
    }

    #[test]
    fn a_new_list_keeps_what_is_known_of_the_tools_that_stay() {
        let before = ToolMeters::new(&names(2), None);
        call(&before, "tool-0000", 20);
        call(&before, "tool-0001", 30);
        call(&before, "invented", 5);
        let after = ToolMeters::new(&names(1), Some(&before));
        // What was under way by the list before counts in both.
        call(&before, "tool-0000", 1);
        let found = after.figures(NOW, 256);
        assert_eq!(found.busiest.len(), 1);
        assert_eq!((found.busiest[0].1.requests, found.rest.requests), (21, 5));
    }
}
