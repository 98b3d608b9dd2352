//! What a request holds while it is on its way: the permit of its instance's breaker, and that of its tool's where that has one.

use std::sync::Arc;

use router_core::{
    InstanceId, Run,
    classify::{OutcomeKind, beside_tool},
    event::TrafficEvent,
    permit::{Class, Permit},
};

use crate::{driver_link::DriverLink, table::ToolBreaker};

/// See the module.
pub(crate) struct Permits {
    pub(crate) instance: Permit,
    pub(crate) tool: Option<(Arc<ToolBreaker>, Permit)>,
    /// The tool's name, where its calls are counted; see [`crate::FinishedRequest::tool`].
    pub(crate) called: Option<Arc<str>>,
}

impl Permits {
    /// Gives them back with what the end of the request says: `class` about the instance, unless the tool has a breaker of its
    /// own, of which only answers and the death of the process say something about the instance. A time-out of such a tool
    /// counts against the instance where pings fail too, which the driver knows.
    pub(crate) fn finish(
        self,
        driver: &DriverLink,
        instance: &InstanceId,
        run: Run,
        end: RequestEnd,
    ) {
        let RequestEnd {
            kind,
            class,
            elapsed_ms,
        } = end;
        let upstream_died = matches!(kind, Some(OutcomeKind::UpstreamDied | OutcomeKind::Socket));
        let generation = self.instance.generation();
        let of_instance = match self.tool {
            Some(_) => kind.map_or(Class::Ignore, beside_tool),
            None => class,
        };
        if let Some(report) = self.instance.finish(of_instance) {
            driver.send(TrafficEvent::Outcome {
                instance: instance.clone(),
                run,
                report,
                upstream_died,
            });
        }
        let Some((tool, permit)) = self.tool else {
            return;
        };
        let timed_out = (kind == Some(OutcomeKind::Timeout)).then_some(generation);
        let own = kind.map_or(Class::Ignore, |kind| {
            tool.classes.classify(kind, elapsed_ms)
        });
        let report = permit.finish(own);
        if report.is_some() || timed_out.is_some() {
            driver.send(TrafficEvent::ToolOutcome {
                instance: instance.clone(),
                tool: Arc::clone(&tool.name),
                run,
                report,
                upstream_died,
                timed_out,
            });
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy)]
pub(crate) struct RequestEnd {
    /// `None`: that says nothing about the instance.
    pub(crate) kind: Option<OutcomeKind>,
    /// What it means for the instance's breaker.
    pub(crate) class: Class,
    pub(crate) elapsed_ms: u64,
}
