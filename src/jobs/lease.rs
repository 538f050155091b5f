//! The right to run a job, of one process at a time.

use entity::{Timestamp, lease, time::Span};
use sea_orm::ConnectionTrait;

use crate::{
    app::App,
    error::{Error, Result},
};

/// How long a process that died keeps a lease. A batch takes milliseconds.
const TERM: Span = Span::seconds(30);

/// The lease of a job, held by this process.
#[derive(Debug)]
pub struct Lease<'a> {
    app: &'a App,
    name: &'static str,
}

impl<'a> Lease<'a> {
    /// Takes the lease, if no other process holds it.
    pub async fn take(app: &'a App, name: &'static str) -> Result<Option<Self>> {
        let lease = Self { app, name };
        let take = || lease.extend(&app.store.writer);
        let taken = app.retry(take).await?;
        Ok(taken.then_some(lease))
    }

    /// Sees, in the transaction of a batch, that the lease is still held, and extends it: a process that slept
    /// past its term changes nothing.
    ///
    /// # Errors
    /// When another process has it.
    pub async fn hold(&self, db: &impl ConnectionTrait) -> Result<()> {
        if self.extend(db).await? {
            Ok(())
        } else {
            Err(Error::LeaseLost)
        }
    }

    /// Notes how the run went, and lets go.
    pub async fn release(&self, result: &Result<u64>) -> Result<()> {
        let result = match result {
            Ok(rows) => Ok(i64::try_from(*rows).unwrap_or(i64::MAX)),
            Err(error) => Err(error.to_string()),
        };
        let (app, now) = (self.app, self.now());
        let release = async || {
            let (name, result) = (self.name, result.clone());
            Ok(lease::release(&app.store.writer, name, app.node, now, result).await?)
        };
        app.retry(release).await
    }

    async fn extend(&self, db: &impl ConnectionTrait) -> Result<bool> {
        let now = self.now();
        Ok(lease::take(db, self.name, self.app.node, now, now + TERM).await?)
    }

    fn now(&self) -> Timestamp {
        self.app.clock.now()
    }
}
