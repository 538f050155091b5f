//! The connections to the store. Whatever is asked of one has a deadline, and one that is silent is not asked again.

use std::{
    collections::VecDeque,
    fmt,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult,
    Statement, TransactionOptions, TransactionTrait,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::{Transaction, deadline};

/// Connections that are there for whoever comes next. The driver tests one when it is given back, and who takes it at once
/// waits for that.
const SPARE: usize = 2;

/// Connections to the store for one purpose.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Pool>);

/// What the connections for one purpose may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many there may be.
    pub count: u32,
    /// How long an operation may wait for the store in all.
    pub timeout: Duration,
    /// How long the store takes for a statement at most, if it is known: one that takes longer will never be answered.
    pub statement: Option<Duration>,
    /// Whether a connection that is silent is left to itself, and another one made.
    pub replaces_silent: bool,
}

struct Pool {
    backend: DbBackend,
    limits: Limits,
    /// Makes a connection, which connects when it is used for the first time.
    make: Box<dyn Fn() -> DatabaseConnection + Send + Sync>,
    places: Semaphore,
    idle: Mutex<Idle>,
}

/// Each of them is a pool of the driver with one connection: the driver's own pool never lets go of the place of a connection
/// that hangs while it is tested.
#[derive(Debug, Default)]
struct Idle {
    connections: VecDeque<DatabaseConnection>,
    /// How many there are, those in use among them.
    made: usize,
}

/// A connection in use.
#[derive(Debug)]
pub struct Held {
    pool: Arc<Pool>,
    connection: DatabaseConnection,
    is_given_up: AtomicBool,
}

impl Connections {
    /// Connections that `make` makes.
    pub fn new(
        limits: Limits,
        backend: DbBackend,
        make: impl Fn() -> DatabaseConnection + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Pool {
            backend,
            limits,
            make: Box::new(make),
            places: Semaphore::new(usize::try_from(limits.count).unwrap_or(1)),
            idle: Mutex::default(),
        }))
    }

    /// Sees that there is a store, and that it is to be had with these settings.
    ///
    /// # Errors
    /// When it is not.
    pub async fn check(&self) -> Result<(), DbErr> {
        self.execute_unprepared("SELECT 1").await.map(|_| ())
    }

    /// Makes as many connections as there may be. Where each is a file, there may be none to be had later.
    ///
    /// # Errors
    /// When one cannot be made.
    pub async fn make_all(&self) -> Result<(), DbErr> {
        let mut all = Vec::new();
        for _ in 0..self.0.limits.count {
            let (held, end) = self.hold().await?;
            let made = held.connection.execute_unprepared("SELECT 1");
            held.answer(end, made).await?;
            all.push(held);
        }
        Ok(())
    }

    /// Begins a transaction that will write: it takes its place in the queue of writers now.
    ///
    /// # Errors
    /// When the store does not answer in time.
    pub async fn begin(&self) -> Result<Transaction, DbErr> {
        let options = TransactionOptions {
            // A deferred transaction that reads first fails when another wrote since. The others know no such mode, and begin
            // as their connections were set up to: READ COMMITTED, so that a guarded update sees what is true now.
            sqlite_transaction_mode: Some(sea_orm::SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let last = deadline::end(self.0.limits.timeout);
        let attempts = async {
            loop {
                let (held, end) = self.hold().await?;
                let begin = held.connection.begin_with_options(options);
                // A driver that is interrupted between BEGIN and its answer gives the connection back within a transaction that
                // it knows nothing of.
                held.is_given_up.store(true, Ordering::Relaxed);
                match held.answer(end, begin).await {
                    Ok(begun) => {
                        held.is_given_up.store(false, Ordering::Relaxed);
                        return Ok(Transaction::new(begun, held));
                    }
                    // As in `answer`.
                    Err(error) if is_unconnected(&error) && Instant::now() < end => {}
                    Err(error) => return Err(error),
                }
            }
        };
        deadline::until(last, attempts).await
    }

    /// Lends one connection, as it is, to what has to have one, for `limit` at most.
    ///
    /// # Errors
    /// Those of `work`; when it takes too long.
    pub async fn lend<T>(
        &self,
        limit: Duration,
        work: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, DbErr>,
    ) -> Result<T, DbErr> {
        let (held, _) = self.hold().await?;
        held.answer(Instant::now() + limit, work(&held.connection))
            .await
    }

    /// Closes them, when those in use were given back. From now on there are none.
    ///
    /// # Errors
    /// When one is not given back, or not closed, in time.
    pub async fn close(&self) -> Result<(), DbErr> {
        let end = deadline::end(self.0.limits.timeout);
        let all = timeout_at(end, self.0.places.acquire_many(self.0.limits.count)).await;
        self.0.places.close();
        let idle = self.0.take_idle();
        let closed = timeout_at(end, async {
            for connection in &idle {
                connection.close_by_ref().await?;
            }
            Ok(())
        });
        match (all, closed.await) {
            (Ok(_), Ok(closed)) => closed,
            _ => Err(deadline::over()),
        }
    }

    /// What the store answers to `ask`, which is asked of another connection when one could not be made in time: then nothing
    /// was asked yet.
    async fn answer<T, F>(&self, ask: impl Fn(DatabaseConnection) -> F) -> Result<T, DbErr>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        let last = deadline::end(self.0.limits.timeout);
        let attempts = async {
            loop {
                let (held, end) = self.hold().await?;
                match held.answer(end, ask(held.connection.clone())).await {
                    Err(error) if is_unconnected(&error) && Instant::now() < end => {}
                    answer => return answer,
                }
            }
        };
        deadline::until(last, attempts).await
    }

    async fn hold(&self) -> Result<(Held, Instant), DbErr> {
        let end = self.0.end();
        let permit = match timeout_at(end, self.0.places.acquire()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(closed()),
            Err(_) => return Err(deadline::over()),
        };
        // What has no time left would only take a connection for silent that is not.
        if end <= Instant::now() {
            return Err(deadline::over());
        }
        permit.forget();
        let held = Held {
            pool: self.0.clone(),
            connection: self.0.take(),
            is_given_up: AtomicBool::new(false),
        };
        Ok((held, end))
    }
}

impl Pool {
    /// Until when a statement that begins now is waited for.
    fn end(&self) -> Instant {
        let end = deadline::end(self.limits.timeout);
        self.limits
            .statement
            .map_or(end, |limit| end.min(Instant::now() + limit))
    }

    fn take(&self) -> DatabaseConnection {
        let mut idle = self.idle();
        let has_room = idle.made < usize::try_from(self.limits.count).unwrap_or(1);
        if (idle.connections.len() >= SPARE || !has_room)
            && let Some(connection) = idle.connections.pop_front()
        {
            return connection;
        }
        idle.made += 1;
        drop(idle);
        (self.make)()
    }

    fn take_idle(&self) -> VecDeque<DatabaseConnection> {
        let mut idle = self.idle();
        let taken = std::mem::take(&mut idle.connections);
        idle.made = idle.made.saturating_sub(taken.len());
        taken
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// What the store answers to `work`, if it does so until `end`.
    pub async fn answer<T>(
        &self,
        end: Instant,
        work: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        // Given up before `work` is dropped: dropping it gives the connection back to the driver, which would test it.
        let mut work = pin!(work);
        match timeout_at(end, &mut work).await {
            Ok(Err(error @ DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))) => {
                self.is_silent();
                Err(error)
            }
            Ok(done) => done,
            Err(_) => {
                self.is_silent();
                Err(deadline::over())
            }
        }
    }

    /// Until when a statement that begins now is waited for.
    pub fn end(&self) -> Instant {
        self.pool.end()
    }

    /// Until when whatever it is is waited for.
    pub fn last(&self) -> Instant {
        deadline::end(self.pool.limits.timeout)
    }

    /// The kind of the store.
    pub fn backend(&self) -> DbBackend {
        self.pool.backend
    }

    /// It is not used again: closed without waiting for the store.
    pub fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
        mark_closed(&self.connection, self.pool.backend);
    }

    /// It did not answer. Those that lie idle have probably lost their way to the store, too.
    fn is_silent(&self) {
        if self.pool.limits.replaces_silent {
            self.give_up();
            for idle in self.pool.take_idle() {
                mark_closed(&idle, self.pool.backend);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let is_closed = self.pool.places.is_closed();
        if is_closed {
            self.give_up();
        }
        let mut idle = self.pool.idle();
        if *self.is_given_up.get_mut() {
            mark_closed(&self.connection, self.pool.backend);
            idle.made = idle.made.saturating_sub(1);
        } else {
            idle.connections.push_back(self.connection.clone());
        }
        drop(idle);
        self.pool.places.add_permits(1);
    }
}

/// The driver tests no connection that is given back now, but closes it.
fn mark_closed(connection: &DatabaseConnection, backend: DbBackend) {
    // Closed when this is called. The future would wait for the connections that are in use.
    match backend {
        DbBackend::MySql => drop(connection.get_mysql_connection_pool().close()),
        DbBackend::Postgres => drop(connection.get_postgres_connection_pool().close()),
        _ => drop(connection.get_sqlite_connection_pool().close()),
    }
}

/// Whether there was no connection in time, or no answer.
fn is_unconnected(error: &DbErr) -> bool {
    matches!(error, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))
}

fn closed() -> DbErr {
    DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("limits", &self.limits)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ConnectionTrait for Connections {
    fn get_database_backend(&self) -> DbBackend {
        self.0.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.answer(|connection| {
            let statement = statement.clone();
            async move { connection.execute_raw(statement).await }
        })
        .await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.answer(|connection| async move { connection.execute_unprepared(sql).await })
            .await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.answer(|connection| {
            let statement = statement.clone();
            async move { connection.query_one_raw(statement).await }
        })
        .await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.answer(|connection| {
            let statement = statement.clone();
            async move { connection.query_all_raw(statement).await }
        })
        .await
    }
}
