//! A pool of connections to one database, while it is reachable. When the connection is lost the whole pool is retired:
//! waiters get an error at once, and connections that hang take no place afterwards.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sqlx::{
    Connection as _, Pool, Postgres, Sqlite,
    pool::{PoolConnection, PoolOptions},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    PoolFigures, StoreOptions,
    link::SqlLink,
    target::{FileIdentity, Target},
    versions_table::VersionsTable,
};

/// SQLite has one writer; more than a few readers gain nothing and each costs a thread.
const SQLITE_CONNECTIONS_MAX: u32 = 4;

/// What a statement may take past the server's own limit before its connection is given up: the way there and back.
pub(crate) const WIRE_MAX: Duration = Duration::from_secs(1);

/// How long a retired pool's connections are waited for. They are dropped afterwards.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// The pool of either database.
#[derive(Debug)]
enum Either {
    Postgres(Pool<Postgres>),
    Sqlite(Pool<Sqlite>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Pools {
    either: Either,
    /// One permit per connection. sqlx's own limit would do, but makes no difference between a busy pool and a server that is away.
    permits: Arc<Semaphore>,
    max: u32,
    /// Cancelled when this pool is given up.
    retired: CancellationToken,
    /// How long an abandoned statement may keep its connection: as long as one that is waited for.
    settle_max: Duration,
    /// The users' table as it was found when the pool was made.
    pub(crate) versions: Option<VersionsTable>,
    /// Which file a pool of SQLite writes to.
    file: Option<FileIdentity>,
    /// Connections to the server, of whatever program, as the last probe counted them; 0: not known.
    pub(crate) server_connections: AtomicU32,
}

impl Pools {
    /// A pool that opens its connections as they are needed.
    pub(crate) fn new(
        target: &Target,
        options: &StoreOptions,
        versions: Option<VersionsTable>,
    ) -> Self {
        let max = connections_max(target, options);
        let either = match target {
            Target::Postgres(connect) => {
                let limit_ms = options.query_timeout.as_millis().to_string();
                let pool = pool_options::<Postgres>(options, max)
                    .after_connect(move |connection, _| {
                        let limit_ms = limit_ms.clone();
                        Box::pin(async move {
                            // Not among the startup parameters: connection poolers refuse those they do not know.
                            sqlx::query(SESSION)
                                .bind(limit_ms)
                                .execute(connection)
                                .await
                                .map(drop)
                        })
                    })
                    .connect_lazy_with((**connect).clone());
                Either::Postgres(pool)
            }
            Target::Sqlite(connect, _) => {
                let pool =
                    pool_options::<Sqlite>(options, max).connect_lazy_with((**connect).clone());
                Either::Sqlite(pool)
            }
        };
        Self {
            either,
            permits: Arc::new(Semaphore::new(max as usize)),
            max,
            retired: CancellationToken::new(),
            settle_max: options.query_timeout + WIRE_MAX,
            versions,
            file: target.file_identity(),
            server_connections: AtomicU32::new(0),
        }
    }

    /// Whether the file that is written to still stands where it should. One that was moved or removed takes rows and
    /// nobody ever finds them.
    pub(crate) fn is_in_place(&self, target: &Target) -> bool {
        self.file == target.file_identity()
    }

    /// A place in the pool, within `wait`; `None` when every connection stayed in use.
    pub(crate) async fn permit(&self, wait: Duration) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        // The semaphore is never closed: an error can only mean that no place came free.
        timeout(wait, permit).await.ok()?.ok()
    }

    /// A connection for a place.
    pub(crate) async fn lease(&self, permit: OwnedSemaphorePermit) -> Result<Lease, sqlx::Error> {
        let held = match &self.either {
            Either::Postgres(pool) => Held::Postgres(pool.acquire().await?),
            Either::Sqlite(pool) => Held::Sqlite(pool.acquire().await?),
        };
        Ok(Lease {
            held: Some(held),
            place: Some(permit),
            state: LeaseState::Answered,
            retired: self.retired.clone(),
            settle_max: self.settle_max,
        })
    }

    /// Resolves when the pool is given up.
    pub(crate) async fn retired(&self) {
        self.retired.cancelled().await;
    }

    /// Gives the pool up: waiters get an error at once. Its connections are closed, or dropped when they do not close in time.
    pub(crate) async fn retire(&self) {
        self.retired.cancel();
        let closed = match &self.either {
            Either::Postgres(pool) => timeout(CLOSE_MAX, pool.close()).await,
            Either::Sqlite(pool) => timeout(CLOSE_MAX, pool.close()).await,
        };
        if closed.is_err() {
            tracing::debug!("connections of a retired pool did not close in time");
        }
    }

    /// The connections now.
    pub(crate) fn figures(&self) -> PoolFigures {
        let (size, idle) = match &self.either {
            Either::Postgres(pool) => (pool.size(), pool.num_idle()),
            Either::Sqlite(pool) => (pool.size(), pool.num_idle()),
        };
        let idle = u32::try_from(idle).unwrap_or(u32::MAX).min(size);
        PoolFigures {
            size,
            idle,
            in_use: size - idle,
            max: self.max,
            server: match self.server_connections.load(Ordering::Relaxed) {
                0 => None,
                count => Some(count),
            },
        }
    }
}

/// How many connections there may be.
pub(crate) fn connections_max(target: &Target, options: &StoreOptions) -> u32 {
    match target {
        Target::Postgres(_) => options.pool_size.max(1),
        Target::Sqlite(..) => options.pool_size.clamp(1, SQLITE_CONNECTIONS_MAX),
    }
}

/// Bounds for one session: a statement that runs too long is cancelled by the server even if we are gone by then.
const SESSION: &str = "SELECT set_config('statement_timeout', $1, false),
    set_config('idle_in_transaction_session_timeout', $1, false)";

fn pool_options<DB: sqlx::Database>(options: &StoreOptions, max: u32) -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(max)
        .idle_timeout(options.idle_timeout)
        .acquire_timeout(options.acquire_timeout)
        // A connection whose backend was terminated is noticed before anybody's statement is sent on it.
        .test_before_acquire(true)
}

#[derive(Debug)]
enum Held {
    Postgres(PoolConnection<Postgres>),
    Sqlite(PoolConnection<Sqlite>),
}

/// The state of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeaseState {
    /// Every statement was answered: it goes back.
    Answered,
    /// A statement is under way.
    Asked,
    /// It died, or did not answer within the deadline: it is of no further use.
    Broken,
}

/// A connection of the pool, with its place in it.
#[derive(Debug)]
pub(crate) struct Lease {
    held: Option<Held>,
    place: Option<OwnedSemaphorePermit>,
    state: LeaseState,
    retired: CancellationToken,
    settle_max: Duration,
}

impl Lease {
    /// The connection, to run statements on. Call [`Lease::answered`] or [`Lease::broken`] afterwards.
    pub(crate) fn link(&mut self) -> SqlLink<'_> {
        self.state = LeaseState::Asked;
        match self.held.as_mut().expect("held until the lease is dropped") {
            Held::Postgres(connection) => SqlLink::Postgres(connection),
            Held::Sqlite(connection) => SqlLink::Sqlite(connection),
        }
    }

    /// The last statement was answered.
    pub(crate) fn answered(&mut self) {
        self.state = LeaseState::Answered;
    }

    /// The last statement will not be answered.
    pub(crate) fn broken(&mut self) {
        self.state = LeaseState::Broken;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (Some(held), Some(place)) = (self.held.take(), self.place.take()) else {
            return;
        };
        let runtime = tokio::runtime::Handle::try_current();
        match (self.state, runtime) {
            (LeaseState::Answered, _) => drop(held),
            // The caller has gone, and the server still works on it: the place stays taken until it has answered. Given
            // back at once, impatient callers could open more connections than there may be.
            (LeaseState::Asked, Ok(runtime)) if !self.retired.is_cancelled() => {
                let (retired, settle_max) = (self.retired.clone(), self.settle_max);
                runtime.spawn(async move {
                    held.settle(retired, settle_max).await;
                    drop(place);
                });
            }
            (LeaseState::Asked | LeaseState::Broken, _) => held.discard(),
        }
    }
}

impl Held {
    /// Waits until an abandoned statement is answered; the server's own limit sees to that. Then it goes back.
    async fn settle(mut self, retired: CancellationToken, settle_max: Duration) {
        let ping = async {
            match &mut self {
                Self::Postgres(connection) => connection.ping().await,
                Self::Sqlite(connection) => connection.ping().await,
            }
        };
        let answered = tokio::select! {
            () = retired.cancelled() => false,
            answered = timeout(settle_max, ping) => matches!(answered, Ok(Ok(()))),
        };
        if !answered {
            self.discard();
        }
    }

    /// Closes it without a goodbye: returning it would wait for an answer that may never come.
    fn discard(self) {
        match self {
            Self::Postgres(connection) => drop(connection.detach()),
            Self::Sqlite(connection) => drop(connection.detach()),
        }
    }
}
