//! What is done beside the requests. Each job is run by whichever process holds its lease.

pub mod clock;
mod lease;
pub mod purge;
pub mod rotate;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use lease::Lease;

use crate::{
    app::App,
    error::{Error, Result},
};

/// How often the epoch is read: a change made by another process is seen within a second.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);
/// How often it is asked whether signing keys are due. A key begins to sign by its date, not by this.
const ROTATE_EVERY: Duration = Duration::from_secs(5);
/// How often what ended is purged: the table is then at most an hour's sessions larger than needed.
const PURGE_EVERY: Duration = Duration::from_hours(1);
/// How often the last use of keys is written down: at most so often a key.
const USAGE_EVERY: Duration = Duration::from_mins(1);

/// How often the clock is compared with what the store knows of the time, beside each run of a job.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Runs the jobs until `shutdown`, then ends before the next batch.
pub async fn run(app: &App, shutdown: CancellationToken) {
    tokio::join!(
        every(FOLLOW_EVERY, &shutdown, async || {
            tell("follow", app.directory.follow(&app.store).await);
        }),
        every(ROTATE_EVERY, &shutdown, async || {
            tell("rotate", rotate::run(app, &shutdown).await.map(|_| ()));
        }),
        every(LOOK_EVERY, &shutdown, async || {
            tell("clock", clock::look(app).await.map(|_| ()));
        }),
        every(USAGE_EVERY, &shutdown, async || {
            tell("usage", app.usage.write(&app.store.writer).await);
        }),
        purge_regularly(app, &shutdown),
    );
    // What was noted since the last time is not lost with the process.
    tell("usage", app.usage.write(&app.store.writer).await);
}

async fn every(time: Duration, shutdown: &CancellationToken, work: impl AsyncFn()) {
    while pause(time, shutdown).await {
        work().await;
    }
}

async fn purge_regularly(app: &App, shutdown: &CancellationToken) {
    loop {
        tell("purge", purge::run(app, shutdown).await.map(|_| ()));
        let again = tokio::select! {
            again = pause(PURGE_EVERY, shutdown) => again,
            () = app.purge.notified() => true,
        };
        if !again {
            return;
        }
    }
}

/// Runs `work` if the lease of the job can be had, and notes how it went. `None` when another process has it.
///
/// # Errors
/// Those of `work`.
async fn leased(
    app: &App,
    name: &'static str,
    work: impl AsyncFnOnce(&Lease) -> Result<u64>,
) -> Result<Option<u64>> {
    let Some(lease) = Lease::take(app, name).await? else {
        return Ok(None);
    };
    let result = work(&lease).await;
    lease.release(&result).await?;
    app.metrics.ran(name, result.is_ok());
    if let Ok(rows) = &result
        && *rows > 0
    {
        tracing::info!(job = name, rows, "job done");
    }
    result.map(Some)
}

fn tell(job: &str, result: Result<()>) {
    if let Err(error) = result {
        let cause: &dyn std::error::Error = match &error {
            Error::Unavailable(cause) | Error::Unconfirmed(cause) => cause,
            Error::Internal(cause) => &**cause,
            other => other,
        };
        tracing::warn!(job, error = cause, "job failed");
    }
}

/// `false` when there is to be no next time.
async fn pause(time: Duration, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        () = shutdown.cancelled() => false,
    }
}
