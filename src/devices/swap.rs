//! A device's push token is replaced by the one that follows it.

use entity::{
    PlainSecret, Timestamp,
    device::{self, Marks, Platform},
    time::Span,
};
use store::Transaction;

use super::{
    merge::{Held, may_merge, merge},
    push_token::PushToken,
    rows::{commit, known, raced, seen},
};
use crate::{
    app::App,
    apps::Caller,
    error::{Error, Result},
    master,
    rotation::{Decision, Parent, RetryPolicy, TokenFamily},
};

/// A push token, and the one that follows it.
#[derive(Clone, Debug)]
pub struct Swap {
    pub old: PlainSecret,
    pub new: PlainSecret,
    /// The user who reports the swap, if known.
    pub sub: Option<String>,
    pub platform: Option<Platform>,
}

/// Replaces the push token of the device that has `old`. To ask again for what was done is fine.
///
/// Where another row of the same user has `new` already, both rows are one device: the older row goes, or the row that is no more
/// than a push token. If both rows are more than a push token, or are of two subjects, both stay: the one keeps `new`, and the
/// other loses its push token, because `old` is dead.
///
/// # Errors
/// When no device has `old`, or `new` is another user's.
pub async fn swap(app: &App, caller: &Caller, swap: &Swap) -> Result<()> {
    let replace = async |caller: Caller| replace(app, &caller, swap).await;
    Box::pin(caller.act(app, replace)).await
}

async fn replace(app: &App, caller: &Caller, swap: &Swap) -> Result<()> {
    let (now, app_id) = (app.clock.now(), caller.app.app.id);
    let transaction = caller.actor.begin(app).await?;
    let old = PushToken::new(app, &transaction, app_id, &swap.old).await?;
    let new = PushToken::new(app, &transaction, app_id, &swap.new).await?;
    let macs = [old.macs.as_slice(), &new.macs].concat();
    let marks = Marks {
        push_tokens: &macs,
        ..Marks::default()
    };
    let known = known(&transaction, app_id, marks).await?;
    let holds = |token: &PushToken| known.iter().find(|row| token.is_of(row)).cloned();
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
    entity::replace(&transaction, row).await.map_err(raced)?;
    master::confirm(&transaction, new.sealed_by()).await?;
    commit(app, transaction).await
}

/// Whether the device was given `new` in place of `old` before. A client may ask that for ever, because it changes nothing.
fn was_done(row: &device::Model, old: &PushToken, new: &PushToken, now: Timestamp) -> bool {
    let Some(current) = row.push_token_mac.as_ref().filter(|mac| new.is(mac)) else {
        return false;
    };
    let family = TokenFamily {
        current,
        parent: row.push_parent_mac.as_ref().map(|id| Parent {
            id,
            until: Timestamp::from_millis(i64::MAX),
        }),
        ended: false,
    };
    old.macs.iter().any(|old| {
        let decision = family.present(old, now, Span::ZERO, RetryPolicy::Repeat, current);
        decision == Decision::Repeat
    })
}

/// Makes one device of the one that has the old token and the one that has the new token, if they may be one; gives the one
/// that has the new token.
async fn unite(
    db: &Transaction,
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
    let are_of_two = old.sub.is_some() && new.sub.is_some() && old.sub != new.sub;
    let (old, new) = (
        Held::read(db, old, now).await?,
        Held::read(db, new, now).await?,
    );
    // Two push tokens may move a push token, and nothing else: a row that is in use stays, under its id.
    let is_old_gone = match (old.is_bare, new.is_bare) {
        (true, true) => Some(are_of_two || age(&old.row) < age(&new.row)),
        (true, false) => Some(true),
        (false, true) if !are_of_two => Some(false),
        (false, _) => None,
    };
    let (gone, kept) = if is_old_gone == Some(true) {
        (&old, &new)
    } else {
        (&new, &old)
    };
    if is_old_gone.is_some() && may_merge(gone, kept) {
        let merged = merge(db, gone.row.clone(), kept.row.clone()).await?;
        // A device that was nobody's goes to the user who reports.
        let sub = merged.sub.clone().or(user);
        return Ok(device::Model { sub, ..merged });
    }
    let mut old = old.row;
    old.drop_push_token();
    entity::replace(db, old).await?;
    Ok(new.row)
}
