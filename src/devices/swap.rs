//! A device's push token is replaced by the one that follows it.

use entity::{
    AppId, PlainSecret, Timestamp,
    device::{self, Marks, Platform},
    time::Span,
};
use sea_orm::DatabaseTransaction;

use super::{commit, known, merge::merge, push_token::Presented, raced, seen};
use crate::{
    app::App,
    error::{Error, Result},
    master,
    rotation::{Decision, Lineage, Parent, RetryPolicy},
};

/// A push token, and the one that follows it.
#[derive(Clone, Debug)]
pub struct Swap {
    pub old: PlainSecret,
    pub new: PlainSecret,
    /// Who says so, as far as known.
    pub sub: Option<String>,
    pub platform: Option<Platform>,
}

/// Replaces the push token of the device that has `old`. To ask again for what was done is fine.
///
/// Where another device of the same user has `new` already, both are one device: the row that is older goes.
///
/// # Errors
/// When no device has `old`, or `new` is another user's; those of the store.
pub async fn swap(app: &App, app_id: AppId, swap: &Swap) -> Result<()> {
    app.store.retry(|| attempt(app, app_id, swap)).await
}

async fn attempt(app: &App, app_id: AppId, swap: &Swap) -> Result<()> {
    let now = app.clock.now();
    let transaction = app.store.begin().await?;
    let old = Presented::new(app, &transaction, app_id, &swap.old).await?;
    let new = Presented::new(app, &transaction, app_id, &swap.new).await?;
    let macs = [old.macs.as_slice(), &new.macs].concat();
    let marks = Marks {
        push_tokens: &macs,
        ..Marks::default()
    };
    let known = known(&transaction, app_id, marks).await?;
    let holds = |token: &Presented| known.iter().find(|row| token.is_of(row)).cloned();
    let mut row = match (holds(&old), holds(&new)) {
        (Some(row), None) => row,
        (Some(row), Some(other)) => unite(&transaction, row, other, swap, now).await?,
        (None, Some(row)) if was_done(&row, &old, &new, now) => return Ok(()),
        (None, _) => return Err(Error::NotFound("device")),
    };
    new.give(app, &mut row, now)?;
    // Where the token came with the row that is kept, the one before it is known now.
    row.push_parent_mac = old.macs.into_iter().next();
    row.platform = swap.platform.or(row.platform);
    row.last_seen_at = seen(&row, now);
    device::save(&transaction, row).await.map_err(raced)?;
    master::confirm(&transaction, new.sealed_by()).await?;
    commit(app, transaction).await
}

/// Whether the device was given `new` for `old` before. That may be asked for ever: nothing is changed by it.
fn was_done(row: &device::Model, old: &Presented, new: &Presented, now: Timestamp) -> bool {
    let Some(current) = row.push_token_mac.as_ref().filter(|mac| new.is(mac)) else {
        return false;
    };
    let lineage = Lineage {
        current,
        parent: row.push_parent_mac.as_ref().map(|id| Parent {
            id,
            until: Timestamp::from_millis(i64::MAX),
        }),
        ended: false,
    };
    old.macs.iter().any(|old| {
        let decision = lineage.present(old, now, Span::ZERO, RetryPolicy::Repeat, current);
        decision == Decision::Repeat
    })
}

/// Makes one device of the one that has the old token and the one that has the new token.
async fn unite(
    db: &DatabaseTransaction,
    old: device::Model,
    new: device::Model,
    swap: &Swap,
    now: Timestamp,
) -> Result<device::Model> {
    let user = swap.sub.as_ref().or(old.sub.as_ref()).cloned();
    if new.sub.is_some() && new.sub != user {
        return Err(Error::Conflict(
            "The new token is registered to a different user.",
        ));
    }
    let age = |row: &device::Model| (row.first_seen_at, row.id);
    let (gone, mut kept) = if age(&old) < age(&new) {
        (old, new)
    } else {
        (new, old)
    };
    // Whoever is told of by the new token, or by who swaps, is its user.
    kept.sub = user;
    merge(db, gone, kept, now).await
}
