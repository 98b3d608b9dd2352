//! Running statements on whatever connection there is: within a deadline, again when the connection died under it,
//! and not at all while the database is away.

use std::{
    future::Future,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use sqlx::Error;
use tokio::{
    sync::{Notify, watch},
    time::timeout_at,
};

use crate::{
    DatabaseState, PoolFigures, StoreError, StoreOptions,
    counted::Counted,
    link::{SqlFault, SqlLink, describe},
    pools::{Pools, WIRE_MAX, connections_max},
    sql::{Call, Row, now_ms},
    target::Target,
};

/// A statement whose connection died is sent on another one. Twice, because the next may be as dead; not for ever, because a
/// statement can also be what kills them. Where an administrator ended it, it is sent again within its time, however often.
const ATTEMPTS_MAX: u32 = 3;

/// See the module. Shared by everything in the store.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) options: StoreOptions,
    pub(crate) target: Target,
    pub(crate) counted: Arc<Counted>,
    /// The state, for anybody to watch. Written by the keeper.
    pub(crate) state: watch::Sender<DatabaseState>,
    /// Wakes the keeper: something went wrong with the connection.
    pub(crate) doubt: Notify,
    /// When this life began, in milliseconds since 1970.
    pub(crate) started_ms: i64,
    /// Statements that were answered: by their number a busy pool differs from a hanging one.
    answered: AtomicU64,
    current: Mutex<Option<Arc<Pools>>>,
}

/// A statement that failed, and what that means.
#[derive(Debug)]
pub(crate) struct StatementFailure {
    pub(crate) fault: SqlFault,
    pub(crate) error: StoreError,
}

impl From<StatementFailure> for StoreError {
    fn from(failed: StatementFailure) -> Self {
        failed.error
    }
}

impl Database {
    /// A database that nobody has connected to yet.
    pub(crate) fn new(options: StoreOptions, target: Target, counted: Arc<Counted>) -> Self {
        let state = DatabaseState::Disconnected {
            since: SystemTime::now(),
            reason: "not tried yet".to_owned(),
        };
        Self {
            options,
            target,
            counted,
            state: watch::Sender::new(state),
            doubt: Notify::new(),
            started_ms: now_ms(),
            answered: AtomicU64::new(0),
            current: Mutex::new(None),
        }
    }

    /// The pool, while there is one.
    pub(crate) fn pools(&self) -> Option<Arc<Pools>> {
        self.current.lock().clone()
    }

    /// Replaces the pool. The one before is the caller's to retire.
    pub(crate) fn replace(&self, pools: Option<Arc<Pools>>) -> Option<Arc<Pools>> {
        std::mem::replace(&mut *self.current.lock(), pools)
    }

    /// How many statements were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The connections now.
    pub(crate) fn figures(&self) -> PoolFigures {
        let none = || PoolFigures {
            max: connections_max(&self.target, &self.options),
            ..PoolFigures::default()
        };
        self.pools().map_or_else(none, |pools| pools.figures())
    }

    /// The rows that a statement gives.
    pub(crate) async fn rows<T: Row + Sync>(&self, call: Call) -> Result<Vec<T>, StatementFailure> {
        let row = PhantomData;
        self.run(&Rows { call, row }, self.patience()).await
    }

    /// Runs one statement. How many rows it changed. It must be harmless to run it twice.
    pub(crate) async fn change(&self, call: Call) -> Result<u64, StatementFailure> {
        let changed = self.changes(vec![call]).await?;
        Ok(changed.first().copied().unwrap_or(0))
    }

    /// Runs statements in one transaction. How many rows each changed. It must be harmless to run them twice.
    pub(crate) async fn changes(&self, calls: Vec<Call>) -> Result<Vec<u64>, StatementFailure> {
        self.run(&Changes(calls), self.patience()).await
    }

    /// How long one operation may take in all: a wait for a connection and the longest statement.
    fn patience(&self) -> Duration {
        self.options.acquire_timeout + self.options.query_timeout + WIRE_MAX
    }

    /// Runs work on a connection, within a deadline, and again where its connection died.
    pub(crate) async fn run<W: Work>(
        &self,
        work: &W,
        patience: Duration,
    ) -> Result<W::Output, StatementFailure> {
        let started = Instant::now();
        let deadline = started + patience;
        let mut attempts = 1;
        loop {
            let failed = match self.attempt(work, started, deadline).await {
                Ok(output) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    return Ok(output);
                }
                Err(failed) => failed,
            };
            let is_sent_again = match failed.fault {
                SqlFault::Terminated => Instant::now() < deadline,
                SqlFault::Dead => attempts < ATTEMPTS_MAX,
                _ => false,
            };
            if is_sent_again {
                attempts += u32::from(failed.fault == SqlFault::Dead);
                Counted::add(&self.counted.retries, 1);
                continue;
            }
            self.count(&failed);
            return Err(failed);
        }
    }

    fn count(&self, failed: &StatementFailure) {
        Counted::add(&self.counted.errors, 1);
        match failed.error {
            StoreError::TimedOut { .. } => Counted::add(&self.counted.timeouts, 1),
            StoreError::Exhausted { .. } => Counted::add(&self.counted.exhausted, 1),
            _ => {}
        }
        if failed.fault.is_dead() || failed.fault == SqlFault::Away {
            self.doubt.notify_one();
        }
    }

    async fn attempt<W: Work>(
        &self,
        work: &W,
        started: Instant,
        deadline: Instant,
    ) -> Result<W::Output, StatementFailure> {
        let Some(pools) = self.pools() else {
            return Err(self.away());
        };
        let acquire = deadline
            .saturating_duration_since(Instant::now())
            .min(self.options.acquire_timeout);
        tokio::select! {
            biased;
            // The keeper has put another pool in its place, or none: the next attempt finds out which.
            () = pools.retired() => Err(StatementFailure { fault: SqlFault::Dead, ..self.away() }),
            done = self.on_pool(&pools, work, acquire, started, deadline) => done,
        }
    }

    async fn on_pool<W: Work>(
        &self,
        pools: &Pools,
        work: &W,
        acquire: Duration,
        started: Instant,
        deadline: Instant,
    ) -> Result<W::Output, StatementFailure> {
        let waited_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let Some(permit) = pools.permit(acquire).await else {
            let max = pools.figures().max;
            let waited_ms = waited_ms();
            // Operators search for this message.
            tracing::error!(
                kind = "database",
                max,
                waited_ms,
                "no available connections in pool"
            );
            return Err(StatementFailure {
                fault: SqlFault::Refused,
                error: StoreError::Exhausted { max, waited_ms },
            });
        };
        let worked = async {
            let mut lease = match timeout_at(deadline.into(), pools.lease(permit)).await {
                Ok(Ok(lease)) => lease,
                Ok(Err(error)) => return Ok(Err(error)),
                Err(late) => return Err(late),
            };
            let output = timeout_at(deadline.into(), work.run(lease.link())).await;
            match &output {
                Err(_) => lease.broken(),
                Ok(Err(error)) if SqlFault::of(error).is_dead() => lease.broken(),
                // An answer that is an error leaves the connection as usable as any other answer.
                Ok(_) => lease.answered(),
            }
            output
        };
        match worked.await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(self.judge(&error, waited_ms())),
            Err(_) => {
                let waited_ms = waited_ms();
                tracing::error!(
                    kind = "database",
                    waited_ms,
                    "TIMEOUT: the database did not answer"
                );
                Err(StatementFailure {
                    fault: SqlFault::Away,
                    error: StoreError::TimedOut { waited_ms },
                })
            }
        }
    }

    fn judge(&self, error: &Error, waited_ms: u64) -> StatementFailure {
        let fault = SqlFault::of(error);
        let reason = describe(error);
        let error = match fault {
            SqlFault::Cancelled => StoreError::TimedOut { waited_ms },
            SqlFault::Dead | SqlFault::Terminated | SqlFault::Away => {
                StoreError::Disconnected { reason }
            }
            SqlFault::Data | SqlFault::NoTable | SqlFault::Refused => StoreError::Refused {
                reason,
                code: error
                    .as_database_error()
                    .and_then(|error| error.code())
                    .unwrap_or_default()
                    .into_owned(),
            },
        };
        StatementFailure { fault, error }
    }

    /// What is answered while there is no connection.
    fn away(&self) -> StatementFailure {
        let error = match &*self.state.borrow() {
            DatabaseState::Closed => StoreError::Closed,
            DatabaseState::Disconnected { reason, .. } | DatabaseState::Unusable { reason, .. } => {
                let reason = reason.clone();
                StoreError::Disconnected { reason }
            }
            // The keeper is replacing the pool at this moment.
            DatabaseState::Connected { .. } => StoreError::Disconnected {
                reason: "the connection is being established anew".to_owned(),
            },
        };
        StatementFailure {
            fault: SqlFault::Away,
            error,
        }
    }
}

/// Something to do on a connection. It must be harmless to do it twice.
pub(crate) trait Work: Sync {
    /// What comes of it.
    type Output: Send;
    /// Does it.
    fn run(&self, link: SqlLink<'_>) -> impl Future<Output = Result<Self::Output, Error>> + Send;
}

struct Rows<T> {
    call: Call,
    row: PhantomData<T>,
}

impl<T: Row + Sync> Work for Rows<T> {
    type Output = Vec<T>;
    async fn run(&self, mut link: SqlLink<'_>) -> Result<Vec<T>, Error> {
        link.rows(&self.call).await
    }
}

struct Changes(Vec<Call>);

impl Work for Changes {
    type Output = Vec<u64>;
    async fn run(&self, mut link: SqlLink<'_>) -> Result<Vec<u64>, Error> {
        match self.0.as_slice() {
            [call] => Ok(vec![link.change(call).await?]),
            calls => link.changes(calls).await,
        }
    }
}
