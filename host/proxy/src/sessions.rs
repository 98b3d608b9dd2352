//! Client sessions: who their clients are, their event streams, and how their ids stay valid beyond this router.
//!
//! The registry keeps those in memory, by their ids, and knows which ids were revoked.

mod claims;
mod events;
mod revocation;
mod session;
pub(crate) mod sse;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use router_core::InstanceId;
use router_upstream::{ClientCapabilities, ProtocolVersion};

use crate::{
    config::ProxyLimits,
    fault::{FaultKind, RequestFault},
    observe::{ProxyCount, ProxyObserver},
    session_owner::SessionOwner,
};

use claims::TOKEN_BYTES_MAX;
use events::{EventBudget, EventLog};
use revocation::RevocationList;

pub(crate) use {events::StreamId, session::Session};

pub use {
    claims::{SessionClaims, SessionSeal},
    revocation::{RevocationStore, RevokedSession},
};

/// The sessions in memory. A session that is not here may still be valid: its id says so.
pub(crate) struct SessionRegistry {
    tables: Mutex<SessionTables>,
    seal: Arc<dyn SessionSeal>,
    observer: Arc<dyn ProxyObserver>,
    /// What the ids of events start with.
    epoch: String,
    limits: ProxyLimits,
    budget: Arc<EventBudget>,
    revocation_store: Arc<dyn RevocationStore>,
    /// How many sessions were kept so far.
    kept: AtomicU64,
}

struct SessionTables {
    /// By their ids, those of each instance by themselves: what concerns one instance costs nothing for the others.
    sessions: HashMap<InstanceId, HashMap<Box<str>, Arc<Session>>>,
    revoked: RevocationList,
}

impl SessionTables {
    fn find(&self, instance: &InstanceId, token: &str) -> Option<Arc<Session>> {
        self.sessions.get(instance)?.get(token).cloned()
    }

    fn remove(&mut self, session: &Session) -> Option<Arc<Session>> {
        let of_instance = self.sessions.get_mut(&session.instance)?;
        let removed = of_instance.remove(&session.token);
        if of_instance.is_empty() {
            self.sessions.remove(&session.instance);
        }
        removed
    }
}

impl SessionRegistry {
    pub(crate) fn new(
        seal: Arc<dyn SessionSeal>,
        observer: Arc<dyn ProxyObserver>,
        epoch: String,
        limits: ProxyLimits,
        revocation_store: Arc<dyn RevocationStore>,
    ) -> Self {
        let (mut revoked, now) = (RevocationList::new(limits.ended_sessions_max), unix_now());
        for session in revocation_store.load() {
            revoked.insert(session, now);
        }
        Self {
            tables: Mutex::new(SessionTables {
                sessions: HashMap::new(),
                revoked,
            }),
            budget: EventBudget::new(&limits),
            seal,
            observer,
            epoch,
            limits,
            revocation_store,
            kept: AtomicU64::new(0),
        }
    }

    /// Begins a session.
    pub(crate) fn begin(
        &self,
        instance: &InstanceId,
        owner: &SessionOwner,
        version: ProtocolVersion,
        capabilities: ClientCapabilities,
    ) -> Result<Arc<Session>, RequestFault> {
        let claims = SessionClaims {
            instance: instance.clone(),
            version,
            capabilities,
            expires_unix_s: unix_now().saturating_add(self.limits.session_lifetime.as_secs()),
            nonce: rand::random(),
            owner: owner.mark(),
        };
        let token = self.seal.seal(&claims);
        let session = self.keep(&token, claims, owner, false)?;
        self.observer.count(ProxyCount::SessionOpened);
        Ok(session)
    }

    /// The session that an id names, for requests of `owner` to `instance`. To everybody else it is unknown.
    pub(crate) fn find(
        &self,
        token: &str,
        instance: &InstanceId,
        owner: &SessionOwner,
    ) -> Result<Arc<Session>, RequestFault> {
        let unknown = || RequestFault::from(FaultKind::UnknownSession);
        let live = self.tables.lock().find(instance, token);
        if let Some(session) = live {
            if session.owner != *owner {
                return Err(unknown());
            }
            if session.expires_unix_s <= unix_now() {
                self.tables.lock().remove(&session);
                session.end();
                return Err(unknown());
            }
            return Ok(session);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(unknown());
        }
        let claims = self.seal.open(token).ok_or_else(unknown)?;
        let is_meant = claims.instance == *instance && claims.owner == owner.mark();
        if !is_meant || claims.expires_unix_s <= unix_now() {
            return Err(unknown());
        }
        // Before another session has to make room for it; `keep` checks again, for it may be revoked meanwhile.
        if self.tables.lock().revoked.contains(&claims.revocation()) {
            return Err(unknown());
        }
        let session = self.keep(token, claims, owner, true)?;
        self.observer.count(ProxyCount::SessionRevived);
        Ok(session)
    }

    /// Takes a session out, for good: its id is not valid any more.
    pub(crate) fn end(&self, session: &Session) {
        let is_news = {
            let mut tables = self.tables.lock();
            tables.remove(session);
            tables.revoked.insert(session.revocation, unix_now())
        };
        if is_news {
            self.revocation_store.add(session.revocation);
        }
    }

    /// Takes a session out whose client never learns its id.
    pub(crate) fn discard(&self, session: &Session) {
        self.tables.lock().remove(session);
    }

    /// Takes out the sessions that have been idle for so long.
    pub(crate) fn take_idle(&self, idle: Duration) -> Vec<Arc<Session>> {
        // Zero is what a session with a request or a stream open says, whatever the bound.
        let stale = self
            .all()
            .into_iter()
            .filter(|session| session.idle_for() >= idle.max(Duration::from_millis(1)));
        stale
            .filter_map(|session| self.tables.lock().remove(&session))
            .collect()
    }

    /// Takes out the sessions of an instance that is no more.
    pub(crate) fn take_instance(&self, instance: &InstanceId) -> Vec<Arc<Session>> {
        let taken = self.tables.lock().sessions.remove(instance);
        taken.unwrap_or_default().into_values().collect()
    }

    pub(crate) fn of_instance(&self, instance: &InstanceId) -> Vec<Arc<Session>> {
        let tables = self.tables.lock();
        let sessions = tables.sessions.get(instance);
        sessions.map_or_else(Vec::new, |sessions| sessions.values().cloned().collect())
    }

    /// The instances that have sessions.
    pub(crate) fn instances(&self) -> Vec<InstanceId> {
        self.tables.lock().sessions.keys().cloned().collect()
    }

    /// The bytes of events that are held for all sessions.
    pub(crate) fn event_bytes(&self) -> usize {
        self.budget.bytes()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        let tables = self.tables.lock();
        let sessions = tables.sessions.values().flat_map(HashMap::values);
        sessions.cloned().collect()
    }

    pub(crate) fn count(&self, instance: &InstanceId) -> usize {
        let tables = self.tables.lock();
        tables.sessions.get(instance).map_or(0, HashMap::len)
    }

    fn keep(
        &self,
        token: &str,
        claims: SessionClaims,
        owner: &SessionOwner,
        is_inherited: bool,
    ) -> Result<Arc<Session>, RequestFault> {
        if self.count(&claims.instance) >= self.limits.sessions_per_instance_max {
            self.make_room(&claims.instance)?;
        }
        // A session that was forgotten and comes back counts its streams anew, and must not take the id of an event from
        // before for one of its own.
        let life = self.kept.fetch_add(1, Ordering::Relaxed);
        let epoch = format!("{}-{life}", self.epoch);
        let session = Session::new(
            token,
            claims,
            owner.clone(),
            is_inherited,
            EventLog::new(&epoch, &self.limits, self.budget.clone()),
            self.limits.keep_alive,
            self.observer.clone(),
        );
        let mut tables = self.tables.lock();
        // Two requests may bring the same session back at once: the first one's stays.
        if let Some(other) = tables.find(&session.instance, token) {
            return Ok(other);
        }
        if tables.revoked.contains(&session.revocation) {
            return Err(FaultKind::UnknownSession.on(&session.instance));
        }
        let of_instance = tables.sessions.entry(session.instance.clone());
        of_instance
            .or_default()
            .insert(session.token.clone(), session.clone());
        Ok(session)
    }

    /// Forgets the session of an instance that was idle for longest. Its id stays valid.
    fn make_room(&self, instance: &InstanceId) -> Result<(), RequestFault> {
        let sessions = self.of_instance(instance);
        let idlest = sessions.iter().max_by_key(|session| session.idle_for());
        let idlest = idlest.filter(|session| !session.idle_for().is_zero());
        let max = self.limits.sessions_per_instance_max;
        let idlest = idlest.ok_or_else(|| FaultKind::TooManySessions { max }.on(instance))?;
        self.tables.lock().remove(idlest);
        idlest.end();
        self.observer.count(ProxyCount::SessionForgotten);
        Ok(())
    }
}

/// In seconds.
fn unix_now() -> u64 {
    router_values::unix_ms_now() / 1000
}
