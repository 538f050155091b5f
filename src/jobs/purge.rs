//! Removes what ended long enough ago.

use entity::{
    Timestamp, app, app_key, audit_event, device, registration_token, session, signing_key,
    time::Span,
};
use tokio_util::sync::CancellationToken;

use super::{Lease, clock, leased};
use crate::{app::App, error::Result};

/// How long an app-key is shown after it ended, for whoever asks why something stopped working.
const KEEP_ENDED_KEYS: Span = Span::seconds(90 * 86_400);
/// How long a device is kept that nobody saw: FCM takes a registration token for dead that was not used for so long.
const KEEP_UNSEEN_DEVICES: Span = Span::seconds(270 * 86_400);
/// Rows in one transaction: renewals wait for a batch no longer than for a few of their own.
const BATCH: u64 = 500;

/// Removes sessions, registrations, devices, keys and events whose time is over, and everything of deleted apps; nothing while
/// the clock is not believed. Gives the number of rows; `None` when another process does it.
///
/// # Errors
/// When the store fails, what was removed until then stays removed.
pub async fn run(app: &App, shutdown: &CancellationToken) -> Result<Option<u64>> {
    let Some(now) = clock::look(app).await? else {
        return Ok(Some(0));
    };
    leased(app, "purge", async |lease| {
        work(app, lease, now, shutdown).await
    })
    .await
}

async fn work(
    app: &App,
    lease: &Lease<'_>,
    now: Timestamp,
    shutdown: &CancellationToken,
) -> Result<u64> {
    let forgotten = now.before(app.config.audit_retention());
    let mut removed = batches(app, lease, shutdown, async |db| {
        session::purge_expired(db, now, BATCH).await
    })
    .await?;
    removed += batches(app, lease, shutdown, async |db| {
        audit_event::purge(db, forgotten, BATCH).await
    })
    .await?;
    removed += batches(app, lease, shutdown, async |db| {
        registration_token::purge(db, now, BATCH).await
    })
    .await?;
    let unseen = now.before(KEEP_UNSEEN_DEVICES);
    removed += batches(app, lease, shutdown, async |db| {
        device::purge_stale(db, unseen, now, BATCH).await
    })
    .await?;
    // Of those with a live session: their messages would not arrive any more.
    removed += batches(app, lease, shutdown, async |db| {
        device::drop_stale_push_tokens(db, unseen, BATCH).await
    })
    .await?;
    removed += app_key::purge_ended(&app.store.writer, now.before(KEEP_ENDED_KEYS)).await?;

    for deleted in app::list_deleted(&app.store.reader).await? {
        removed += batches(app, lease, shutdown, async |db| {
            session::purge_in(db, deleted.id, BATCH).await
        })
        .await?;
        removed += batches(app, lease, shutdown, async |db| {
            device::purge_in(db, deleted.id, BATCH).await
        })
        .await?;
        // Their rows stay for a while, so that a device is told that the app is no more. After the devices: no token family
        // begins without one.
        batches(app, lease, shutdown, async |db| {
            registration_token::revoke_in(db, deleted.id, now, BATCH).await
        })
        .await?;
        if shutdown.is_cancelled() {
            break;
        }
        let transaction = app.store.begin().await?;
        lease.hold(&transaction).await?;
        signing_key::delete_in(&transaction, deleted.id).await?;
        app_key::delete_in(&transaction, deleted.id).await?;
        app::purge(&transaction, deleted.id).await?;
        app.store.commit(transaction).await?;
    }
    Ok(removed)
}

/// Removes batch after batch, each in a transaction of its own, until one is not full.
async fn batches(
    app: &App,
    lease: &Lease<'_>,
    shutdown: &CancellationToken,
    purge: impl AsyncFn(&store::Transaction) -> Result<u64, sea_orm::DbErr>,
) -> Result<u64> {
    let mut removed = 0;
    while !shutdown.is_cancelled() {
        let batch = async || {
            let transaction = app.store.begin().await?;
            lease.hold(&transaction).await?;
            let rows = purge(&transaction).await?;
            app.store.commit(transaction).await?;
            Ok(rows)
        };
        let rows = app.retry(batch).await?;
        removed += rows;
        if rows < BATCH {
            break;
        }
    }
    Ok(removed)
}
