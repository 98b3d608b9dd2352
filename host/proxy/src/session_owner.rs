//! Whose session it is: who began it, and may go on with it.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// Who calls, as far as sessions are concerned: a session answers to nobody but the caller that began it. What authorizes callers puts it
/// among the extensions of the request; where it is missing, all callers are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOwner {
    /// How it is known who calls: keeps the name of a token apart from what else may be called so.
    pub via: &'static str,
    /// The name.
    pub name: Arc<str>,
}

/// An owner as a session id has it. It says who may use the id, not who they are.
pub type OwnerMark = [u8; 8];

impl SessionOwner {
    /// The first bytes of a hash: names are the operator's, so that nobody can choose one that collides.
    #[must_use]
    pub fn mark(&self) -> OwnerMark {
        let mut hash = Sha256::new();
        hash.update(self.via);
        hash.update([0]);
        hash.update(&*self.name);
        let hash = hash.finalize();
        hash.first_chunk().copied().unwrap_or_default()
    }
}

impl Default for SessionOwner {
    fn default() -> Self {
        Self {
            via: "",
            name: "".into(),
        }
    }
}
