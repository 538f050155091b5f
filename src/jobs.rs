//! What is done beside the requests: following the changes of other processes, and purging.

use std::time::Duration;

use entity::{app, app_key, session, signing_key, time::Span};
use tokio_util::sync::CancellationToken;

use crate::{app::App, error::Result};

/// How often the epoch is read: a change made by another process is seen within a second.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);
/// How often what ended is purged: the table is then at most an hour's sessions larger than needed.
const PURGE_EVERY: Duration = Duration::from_hours(1);
/// How long a session is kept after its last refresh token expired: late presentations are then told
/// apart from garbage in the log of a day.
const KEEP_EXPIRED: Span = Span::seconds(86_400);
/// Rows in one transaction: renewals wait for a batch no longer than for a few of their own.
const BATCH: u64 = 500;

/// Runs the jobs until `shutdown`, then ends before the next batch.
pub async fn run(app: &App, shutdown: CancellationToken) {
    tokio::join!(follow(app, &shutdown), purge_regularly(app, &shutdown));
}

async fn follow(app: &App, shutdown: &CancellationToken) {
    while pause(FOLLOW_EVERY, shutdown).await {
        if let Err(error) = app.directory.follow(&app.store).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot follow changes"
            );
        }
    }
}

async fn purge_regularly(app: &App, shutdown: &CancellationToken) {
    loop {
        match purge(app, shutdown).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "purged sessions"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot purge");
            }
        }
        let again = tokio::select! {
            again = pause(PURGE_EVERY, shutdown) => again,
            () = app.purge.notified() => true,
        };
        if !again {
            return;
        }
    }
}

/// Removes sessions that ended long enough ago, and everything of deleted apps. Gives the number of
/// sessions.
///
/// # Errors
/// Those of the store; what was removed until then stays removed.
pub async fn purge(app: &App, shutdown: &CancellationToken) -> Result<u64> {
    let now = app.clock.now();
    let writer = &app.store.writer;
    let mut removed = 0;
    let mut rows = BATCH;
    while rows == BATCH && !shutdown.is_cancelled() {
        rows = session::purge_expired(writer, now.before(KEEP_EXPIRED), BATCH).await?;
        removed += rows;
    }
    for deleted in app::list_deleted(&app.store.reader).await? {
        let mut rows = BATCH;
        while rows == BATCH {
            if shutdown.is_cancelled() {
                return Ok(removed);
            }
            rows = session::purge_in(writer, deleted.id, BATCH).await?;
            removed += rows;
        }
        let transaction = app.store.begin().await?;
        signing_key::delete_in(&transaction, deleted.id).await?;
        app_key::delete_in(&transaction, deleted.id).await?;
        app::purge(&transaction, deleted.id).await?;
        transaction.commit().await?;
    }
    Ok(removed)
}

/// `false` when there is to be no next time.
async fn pause(time: Duration, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        () = shutdown.cancelled() => false,
    }
}
