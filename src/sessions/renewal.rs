//! The decision of a renewal, pure: a row and a presented token in, the row after it and an outcome out.

use std::sync::Arc;

use entity::{AppId, SessionId, SigningKeyId, Timestamp, TokenId, session, time::Span};

use crate::{
    audit::Actor,
    error::Refusal,
    rotation::{Decision, Lineage, Parent, RetryPolicy},
    sessions::tokens::Lifetimes,
};

/// A refresh token whose signature is good, presented at `now`, and what is to follow it.
#[derive(Clone, Debug)]
pub struct Renewal {
    pub app_id: AppId,
    /// The changes of apps and keys that were known when this was made.
    pub epoch: i64,
    /// Who presents it.
    pub actor: Arc<Actor>,
    pub session_id: SessionId,
    /// `jid` of the token.
    pub presented: TokenId,
    /// Its own `nbf` and `exp`.
    pub not_before: Timestamp,
    pub expires_at: Timestamp,
    pub now: Timestamp,
    /// The clock skew that `not_before` and `expires_at` are granted.
    pub leeway: Span,
    /// For how long the token may be presented again.
    pub grace: Span,
    /// The app's count of flushes: the sessions of another are dead.
    pub flush_count: i64,
    /// What follows, should the token be the current one.
    pub next: TokenId,
    pub key_id: SigningKeyId,
    pub lifetimes: Lifetimes,
    /// Where the token came from; what is absent stays as it was.
    pub ip: Option<String>,
    pub user_agent: Option<String>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Tokens are to be signed from this row: the new ones, or the same ones again.
    Renewed(Box<session::Model>),
    /// A reuse: this presentation revoked the session.
    Reused,
    /// Apps or keys were changed meanwhile: to be made anew. Else a token could outlive a flush, or the revocation
    /// of its key, by way of a process that has not seen it yet.
    Stale,
    Refused(Refusal),
}

/// Decides `renewal` on its session, which is changed to what is to be stored.
pub fn decide(session: &mut session::Model, renewal: &Renewal) -> Outcome {
    let lineage = lineage(session, renewal.flush_count);
    let decision = lineage.present(
        renewal.presented,
        renewal.now,
        renewal.grace,
        RetryPolicy::Repeat,
        renewal.next,
    );
    match decision {
        // Seen whatever its dates: an old token that leaked is told by its identity alone.
        Decision::Reuse if session.is_revoked() => Outcome::Refused(Refusal::Used),
        Decision::Reuse => {
            session.revoked_at = Some(renewal.now);
            session.revoked_for = Some(session::Revocation::Reuse);
            Outcome::Reused
        }
        Decision::Ended => Outcome::Refused(Refusal::Revoked),
        _ if renewal.now >= renewal.expires_at + renewal.leeway => {
            Outcome::Refused(Refusal::Expired)
        }
        Decision::Repeat => Outcome::Renewed(Box::new(session.clone())),
        Decision::Advance(_) | Decision::Replace(_)
            if renewal.now + renewal.leeway < renewal.not_before =>
        {
            let retry_after = renewal.not_before.since(renewal.now + renewal.leeway);
            Outcome::Refused(Refusal::NotYetValid { retry_after })
        }
        Decision::Advance(next) | Decision::Replace(next) => {
            advance(session, next, renewal);
            Outcome::Renewed(Box::new(session.clone()))
        }
    }
}

/// Decides a renewal whose session is not stored (any more): nothing is left that could be renewed.
pub fn decide_missing(renewal: &Renewal) -> Outcome {
    let expired = renewal.now >= renewal.expires_at + renewal.leeway;
    Outcome::Refused(if expired {
        Refusal::Expired
    } else {
        Refusal::Revoked
    })
}

/// What the row says of the lineage of refresh tokens.
pub fn lineage(session: &session::Model, flush_count: i64) -> Lineage<TokenId> {
    Lineage {
        current: session.token_id,
        parent: session
            .parent_id
            .zip(session.parent_until)
            .map(|(id, until)| Parent { id, until }),
        ended: session.is_revoked() || session.flush_count != flush_count,
    }
}

fn advance(session: &mut session::Model, next: Lineage<TokenId>, renewal: &Renewal) {
    session.token_id = next.current;
    session.parent_id = next.parent.map(|parent| parent.id);
    session.parent_until = next.parent.map(|parent| parent.until);
    session.generation += 1;
    session.key_id = renewal.key_id;
    renewal.lifetimes.apply(session, renewal.now);
    if let Some(ip) = &renewal.ip {
        session.ip.clone_from(ip);
    }
    if let Some(user_agent) = &renewal.user_agent {
        session.user_agent.clone_from(user_agent);
    }
}
