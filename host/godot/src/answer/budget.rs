//! The size of an answer, and the lists, pages and faults that share it.

use rmcp::schemars::JsonSchema;
use serde::Serialize;

use crate::fault::FileFault;
use crate::index::ProjectSnapshot;
use crate::limits::{FAULTS_BESIDE_MAX, LISTED_MAX};

/// A list that may be cut, with how long it really is.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct Listed<T> {
    /// How many there are.
    pub(crate) total: usize,
    /// The first of them.
    pub(crate) items: Vec<T>,
}

/// What is left of an answer's size.
#[derive(Debug)]
pub(crate) struct AnswerBudget {
    pub(super) bytes_left: usize,
}

impl AnswerBudget {
    /// A budget of `bytes` of JSON.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes_left: bytes }
    }

    /// Splits off one part of `parts` for a list that must not crowd out the others.
    pub(super) fn share(&mut self, parts: usize) -> Self {
        let bytes = self.bytes_left / parts;
        self.bytes_left -= bytes;
        Self::new(bytes)
    }

    /// Whether `item` still fits; if so it is counted.
    pub(super) fn takes(&mut self, item: &impl Serialize) -> bool {
        // Two more for the separator and for rounding; an item that cannot be written fits nowhere.
        let bytes = serde_json::to_string(item).map_or(usize::MAX, |json| json.len() + 2);
        let fits = bytes <= self.bytes_left;
        if fits {
            self.bytes_left -= bytes;
        }
        fits
    }

    /// The first `LISTED_MAX` of `all` that fit.
    pub(super) fn list<T: Serialize>(&mut self, all: Vec<T>) -> Listed<T> {
        let total = all.len();
        let items = all.into_iter().take(LISTED_MAX);
        Listed {
            total,
            items: items.take_while(|item| self.takes(item)).collect(),
        }
    }

    /// The items of `all` from `offset` on, at most `limit` and as many as fit, and where the next page
    /// starts. One item always fits: a page must lead on.
    pub(super) fn page<T: Serialize>(
        &mut self,
        all: impl ExactSizeIterator<Item = T>,
        offset: usize,
        limit: usize,
    ) -> (Vec<T>, Option<usize>) {
        let total = all.len();
        let mut items = Vec::new();
        for item in all.skip(offset).take(limit) {
            if !self.takes(&item) && !items.is_empty() {
                break;
            }
            items.push(item);
        }
        let next = offset.saturating_add(items.len());
        (items, (next < total).then_some(next))
    }
}

/// What to say of an answer that leads on.
pub(super) fn note(next_offset: Option<usize>, snapshot: &ProjectSnapshot) -> Option<String> {
    let more = next_offset.map(|next| format!("There is more: ask again with offset {next}."));
    let cut = snapshot.truncated.then(|| {
        "The project is larger than what is indexed: some files are left out (see faults)."
            .to_owned()
    });
    match (more, cut) {
        (Some(more), Some(cut)) => Some(format!("{more} {cut}")),
        (more, cut) => more.or(cut),
    }
}

/// The faults of the whole project, beside an answer about something else.
pub(super) fn faults_beside(
    snapshot: &ProjectSnapshot,
    budget: &mut AnswerBudget,
) -> Listed<FileFault> {
    let first = snapshot.faults.iter().take(FAULTS_BESIDE_MAX);
    Listed {
        total: snapshot.faults.len(),
        items: budget.share(4).list(first.cloned().collect()).items,
    }
}

/// The faults of one file.
pub(super) fn faults_of(
    snapshot: &ProjectSnapshot,
    path: &str,
    budget: &mut AnswerBudget,
) -> Listed<FileFault> {
    let faults = snapshot.faults.iter().filter(|fault| fault.path == path);
    budget.share(4).list(faults.cloned().collect())
}
