//! The tools of an instance that have breakers of their own, and those whose calls are counted apart. Made anew when the set of them
//! changes; the breakers stay.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use router_core::{action::GuardedTool, classify::ClassTable};

use super::SharedBreaker;

/// Those with breakers of their own.
#[derive(Debug, Default)]
pub struct GuardedTools {
    by_name: HashMap<Arc<str>, Arc<ToolBreaker>>,
}

/// The breaker of one tool.
#[derive(Debug)]
pub struct ToolBreaker {
    /// The tool's name.
    pub name: Arc<str>,
    /// Its breaker.
    pub breaker: Arc<SharedBreaker>,
    /// What the end of a call means for it.
    pub(crate) classes: Arc<ClassTable>,
}

impl GuardedTools {
    /// The tools that are guarded from now on. Those that were so `before` keep their cells, and with them their counters and
    /// the permits that are out.
    #[must_use]
    pub fn new(tools: Vec<GuardedTool>, before: Option<&Self>) -> Self {
        let by_name = tools.into_iter().map(|guarded| {
            let held = before.and_then(|before| before.by_name.get(&guarded.tool));
            let breaker = held
                .map(|held| Arc::clone(&held.breaker))
                .unwrap_or_default();
            breaker.set(guarded.cause, &guarded.setting);
            let tool = ToolBreaker {
                name: Arc::clone(&guarded.tool),
                breaker,
                classes: guarded.classes,
            };
            (guarded.tool, Arc::new(tool))
        });
        Self {
            by_name: by_name.collect(),
        }
    }

    /// The breaker of a tool, where it has one.
    #[must_use]
    pub fn get(&self, tool: &str) -> Option<&Arc<ToolBreaker>> {
        self.by_name.get(tool)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ToolBreaker>> {
        self.by_name.values()
    }
}

/// Those whose calls are counted apart.
#[derive(Debug)]
pub struct MeteredTools {
    names: HashSet<Arc<str>>,
    /// What all others are counted as.
    other: Arc<str>,
}

impl MeteredTools {
    /// The tools that are counted apart from now on.
    #[must_use]
    pub fn new(tools: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self {
            names: tools.into_iter().collect(),
            other: "".into(),
        }
    }

    /// The name that a call of this tool is counted by.
    pub(crate) fn counted_as(&self, tool: &str) -> Arc<str> {
        Arc::clone(self.names.get(tool).unwrap_or(&self.other))
    }
}
