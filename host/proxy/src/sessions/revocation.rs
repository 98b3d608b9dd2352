//! Sessions that their clients ended. Their ids would still be good seals, also for the next router, and must not be valid
//! again (MCP, transports, "Session Management": requests with the id of an ended session get 404).
//!
//! So they are remembered until their ids expire, and kept in the router's data for the next router.

use std::collections::BTreeSet;

/// An ended session, as far as it must be remembered. Nobody can make an id of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevokedSession {
    /// When its id stops being valid by itself, in seconds since the Unix epoch. It need not be remembered any longer.
    pub expires_unix_s: u64,
    /// The nonce in its id: [`crate::SessionClaims::nonce`].
    pub nonce: [u8; 16],
}

/// Keeps ended sessions from one router to the next.
pub trait RevocationStore: Send + Sync {
    /// All that were revoked under this router and earlier ones, in any order. Called once, before the proxy serves; it may
    /// block. Those that have expired need not be among them, and do no harm.
    fn load(&self) -> Vec<RevokedSession>;

    /// A session was ended. Called once for each, on a thread that serves requests: it must not block, so an implementation that writes to
    /// a disk does it elsewhere, with a bounded queue in between.
    fn add(&self, session: RevokedSession);
}

/// The ended sessions whose ids have not expired: those that expire last, where there are too many.
#[derive(Debug)]
pub(crate) struct RevocationList {
    // In the order of their expiry.
    sessions: BTreeSet<RevokedSession>,
    sessions_max: usize,
}

impl RevocationList {
    pub(crate) fn new(sessions_max: usize) -> Self {
        Self {
            sessions: BTreeSet::new(),
            sessions_max,
        }
    }

    pub(crate) fn contains(&self, session: &RevokedSession) -> bool {
        self.sessions.contains(session)
    }

    /// Remembers one more. False where it was known.
    pub(crate) fn insert(&mut self, session: RevokedSession, now_unix_s: u64) -> bool {
        let is_new = self.sessions.insert(session);
        while let Some(first) = self.sessions.first()
            && (first.expires_unix_s <= now_unix_s || self.sessions.len() > self.sessions_max)
        {
            self.sessions.pop_first();
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::{RevocationList, RevokedSession};

    fn session(expires_unix_s: u64, n: u8) -> RevokedSession {
        RevokedSession {
            expires_unix_s,
            nonce: [n; 16],
        }
    }

    #[test]
    fn what_has_expired_is_forgotten_and_of_too_many_what_expires_first() {
        let mut ended = RevocationList::new(2);
        let all = [session(30, 1), session(10, 2), session(20, 3)];
        assert!(ended.insert(all[0], 5));
        assert!(!ended.insert(all[0], 5));
        assert!(ended.insert(all[1], 5));
        assert!(ended.insert(all[2], 5));
        assert_eq!(all.map(|one| ended.contains(&one)), [true, false, true]);
        assert!(ended.insert(session(40, 4), 30));
        assert_eq!(all.map(|one| ended.contains(&one)), [false; 3]);
        assert!(ended.contains(&session(40, 4)));
        // The same moment is not the same session.
        assert!(!ended.contains(&session(40, 5)));
    }
}
