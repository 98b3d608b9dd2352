//! A breaker as requests meet it: the cell that admits or rejects, and for those it rejects the reason.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use router_core::{
    action::BreakerCause,
    permit::{BreakerCell, BreakerSetting},
};

/// See the module. One for each instance over all its entries, and one for each tool that is guarded.
#[derive(Debug, Default)]
pub struct SharedBreaker {
    cell: Arc<BreakerCell>,
    /// Read by rejected requests only.
    cause: ArcSwapOption<BreakerCause>,
}

impl SharedBreaker {
    /// The cell that admits or rejects.
    #[must_use]
    pub fn cell(&self) -> &Arc<BreakerCell> {
        &self.cell
    }

    /// Puts another setting in place of the one before, with its reason; `None` where it admits.
    pub fn set(&self, cause: Option<Arc<BreakerCause>>, setting: &BreakerSetting) {
        // The reason first, so that what is rejected finds it.
        self.cause.store(cause);
        self.cell.apply(setting);
    }

    /// Why it rejects, where that is known.
    pub(crate) fn cause(&self) -> Option<Arc<BreakerCause>> {
        self.cause.load_full()
    }
}
