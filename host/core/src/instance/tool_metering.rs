//! The tools whose calls are counted apart: those of the instance's last list, while a policy plans its breaker and may want to know of
//! them. Otherwise no request is looked into for that.

use std::sync::Arc;

use super::tools::is_same_list;
use crate::{action::RoutingAction, id::InstanceId, step::Step};

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ToolMetering {
    /// As published; `None`: none are.
    listed: Option<Arc<[String]>>,
}

impl ToolMetering {
    /// Publishes them where they are others; `listed` is `None` where nothing is ready, and the last list holds.
    pub(super) fn sync(
        &mut self,
        step: &mut Step<'_>,
        instance: &InstanceId,
        is_planned: bool,
        listed: Option<&Arc<[String]>>,
    ) {
        let is_new = match (is_planned, listed) {
            (false, _) => self.listed.take().is_some(),
            (true, None) => false,
            (true, Some(listed)) => {
                let is_new = !is_same_list(self.listed.as_ref(), listed);
                self.listed = Some(Arc::clone(listed));
                is_new
            }
        };
        if is_new {
            let tools = self.listed.clone().unwrap_or_default();
            let instance = instance.clone();
            step.push(RoutingAction::MeterTools { instance, tools });
        }
    }
}
