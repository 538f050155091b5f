//! What becomes of a registration token that is presented. Pure: the row of its family in, the changed row or a refusal out.

use entity::{
    SecretHash, Timestamp, app,
    registration_token::{Model, purge_at},
    time::Span,
};

use crate::{
    error::RegistrationRefusal as Refusal,
    rotation::{Decision, Parent, RetryPolicy, TokenFamily},
};

/// The time over which the uses of a device are counted.
const WINDOW: Span = Span::seconds(3600);

/// A token that is presented at `now`, by the policy of its app.
#[derive(Clone, Copy, Debug)]
pub struct Presentation<'a> {
    pub hash: &'a SecretHash,
    pub now: Timestamp,
    pub grace: Span,
    /// Seconds for which a token lives if its family does not say.
    pub expiry: Option<i64>,
    /// The app's count of flushes: a token family that began under another count is dead.
    pub flush_count: i64,
    /// Uses of a device in an hour.
    pub limit: u32,
}

/// The row after a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The token was the current one: it may be presented again within the grace.
    Advanced(Model),
    /// It was the parent, within its grace: the token that it was refreshed to before is dead.
    Replaced(Model),
}

impl<'a> Presentation<'a> {
    /// By the policy of this app.
    pub fn by(app: &app::Model, hash: &'a SecretHash, now: Timestamp, limit: u32) -> Self {
        Self {
            hash,
            now,
            grace: Span::seconds(app.registration_grace),
            expiry: app.registration_expiry,
            flush_count: app.flush_count,
            limit,
        }
    }
}

/// Whether the token is the current one of the family or the tolerated parent, even if the family was ended.
pub fn is_known(row: &Model, hash: &SecretHash, now: Timestamp) -> bool {
    let parent = row.parent_hash.as_ref().zip(row.parent_until);
    row.current_hash == *hash || parent.is_some_and(|(parent, until)| parent == hash && now < until)
}

/// Lets the token be followed by `next`.
///
/// # Errors
/// When it may not.
pub fn refresh(row: &Model, presented: Presentation, next: &SecretHash) -> Result<Next, Refusal> {
    let now = presented.now;
    let decision = accept(row, presented, next)?;
    let mut after = counted(row, presented)?;
    let is_first = matches!(decision, Decision::Advance(_));
    let (Decision::Advance(family) | Decision::Replace(family)) = decision else {
        return Err(Refusal::Invalid);
    };
    after.current_hash = family.current.clone();
    after.parent_hash = family.parent.map(|parent| parent.id.clone());
    after.parent_until = family.parent.map(|parent| parent.until);
    after.generation += 1;
    after.issued_at = now;
    let lifetime = row.lifetime.or(presented.expiry);
    after.expires_at = lifetime.map(|seconds| now + Span::seconds(seconds));
    after.purge_at = after.expires_at.map(purge_at);
    Ok(if is_first {
        Next::Advanced(after)
    } else {
        Next::Replaced(after)
    })
}

/// Takes the token as the proof of its device. The token stays the current one; the row that is returned counts this use.
///
/// # Errors
/// When it may not.
pub fn exchange(row: &Model, presented: Presentation) -> Result<Model, Refusal> {
    accept(row, presented, presented.hash)?;
    counted(row, presented)
}

/// What becomes of the token by the rule of [`rotation`](crate::rotation), if it is good.
fn accept<'a>(
    row: &'a Model,
    presented: Presentation<'a>,
    next: &'a SecretHash,
) -> Result<Decision<&'a SecretHash>, Refusal> {
    let now = presented.now;
    let family = TokenFamily {
        current: &row.current_hash,
        parent: row
            .parent_hash
            .as_ref()
            .zip(row.parent_until)
            .map(|(id, until)| Parent { id, until }),
        ended: row.revoked_at.is_some() || row.flush_count != presented.flush_count,
    };
    // No token outlives its own end, not even as a parent.
    let grace = match row.expires_at {
        Some(end) => presented.grace.min(end.since(now)),
        None => presented.grace,
    };
    let policy = RetryPolicy::Replace;
    match family.present(presented.hash, now, grace, policy, next) {
        Decision::Reuse => Err(Refusal::Invalid),
        Decision::Ended => Err(Refusal::Revoked),
        Decision::Advance(_) if row.expires_at.is_some_and(|end| now >= end) => {
            Err(Refusal::Expired)
        }
        decision => Ok(decision),
    }
}

/// The row with one use more, if the device may use its token now.
fn counted(row: &Model, presented: Presentation) -> Result<Model, Refusal> {
    let (now, start) = (presented.now, row.window_started_at);
    let mut after = row.clone();
    // A clock that was set back does not keep the device out for longer than the window.
    if now.since(start) >= WINDOW || start.since(now) >= WINDOW {
        after.window_started_at = now;
        after.window_count = 0;
    }
    if after.window_count >= i64::from(presented.limit) {
        let retry_after = (start + WINDOW).since(now);
        return Err(Refusal::TooOften { retry_after });
    }
    after.window_count += 1;
    Ok(after)
}

#[cfg(test)]
mod tests;
