//! The breaker of an instance as requests meet it: the cell that admits or rejects, and for those it rejects the reason.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use router_core::{action::BreakerCause, permit::BreakerCell};

/// See the module. One for each instance, over all its entries.
#[derive(Debug, Default)]
pub struct InstanceBreaker {
    cell: Arc<BreakerCell>,
    /// Read by rejected requests only.
    cause: ArcSwapOption<BreakerCause>,
}

impl InstanceBreaker {
    /// The cell that admits or rejects.
    #[must_use]
    pub fn cell(&self) -> &Arc<BreakerCell> {
        &self.cell
    }

    /// Puts another reason in place of the one before; `None` where it admits. To be called before the cell changes, so that what
    /// is rejected finds the reason.
    pub fn explain(&self, cause: Option<Arc<BreakerCause>>) {
        self.cause.store(cause);
    }

    /// Why it rejects, where that is known.
    pub(crate) fn cause(&self) -> Option<Arc<BreakerCause>> {
        self.cause.load_full()
    }
}
