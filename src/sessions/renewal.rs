//! The decision of a renewal, pure: a row and a presented token in, the row after it and an outcome out.

use std::sync::Arc;

use entity::{
    AppId, SessionId, SigningKeyId, Timestamp, TokenId,
    app::LONGEST_REFRESH_GRACE,
    session::{self, TokenMac},
    time::Span,
};

use crate::{
    audit::Actor,
    error::Refusal,
    rotation::{Decision, Parent, RetryPolicy, TokenFamily},
    sessions::lifetimes::Lifetimes,
};

/// What a refresh token that was presented at `now` says of itself, how it is known to be ours, and what is to follow it.
#[derive(Clone, Debug)]
pub struct Renewal {
    pub app_id: AppId,
    /// The changes of the app that were known when this was made.
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
    /// The keyed hash of the token, and whether its signature was verified, too.
    pub mac: TokenMac,
    pub is_verified: bool,
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
    /// The refresh token that will follow, if it expires when it should.
    pub next_mac: TokenMac,
    pub next_expires_at: Timestamp,
    /// Where the token came from; what is absent stays as it was.
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    /// What may be stored in place of what was presented, by this renewal or as it was prepared before: the store did not answer
    /// when it was committed, and may still do it.
    pub in_doubt: Vec<TokenId>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Tokens are to be signed from this row: the new ones, or the same ones again.
    Renewed(Box<session::Model>),
    /// A reuse: this presentation revoked the session.
    Reused,
    /// The app was changed meanwhile: to be made anew, with the same doubts. Else a token could outlive a flush, or the
    /// revocation of its key, by way of a process that has not seen it yet.
    Stale {
        in_doubt: Vec<TokenId>,
    },
    /// Not the very token that was handed out last: its signature has to be verified.
    Unrecognised,
    /// It was in doubt, and so much has happened since that the row no longer tells.
    Unconfirmed,
    Refused(Refusal),
}

impl Outcome {
    /// Whether this lets `next` follow.
    pub fn follows(&self, next: TokenId) -> bool {
        matches!(self, Self::Renewed(session) if session.token_id == next)
    }
}

impl Renewal {
    /// Whether the token is known to be one of ours: by its signature, or because it is byte for byte the one that was handed
    /// out last.
    pub fn is_ours(&self, session: &session::Model) -> bool {
        self.is_verified
            || (session.token_id == self.presented
                && session.refresh_mac.as_ref() == Some(&self.mac))
    }

    /// Notes that `next` may be stored: the store did not answer when it was committed.
    pub fn doubt(&mut self) {
        if !self.in_doubt.contains(&self.next) {
            self.in_doubt.push(self.next);
        }
    }

    /// Whether something may be stored of which it is not known.
    pub fn has_doubts(&self) -> bool {
        !self.in_doubt.is_empty()
    }

    /// Whether this was in doubt and the row tells that something has followed what was presented: this renewal, or
    /// another.
    pub fn is_settled(&self, session: &session::Model) -> bool {
        !self.in_doubt.is_empty() && session.token_id != self.presented
    }
}

/// Decides `renewal` on its session, which is changed to what is to be stored.
pub fn decide(session: &mut session::Model, renewal: &Renewal) -> Outcome {
    // In doubt, it was recognised before: the row has changed since, perhaps by this very renewal.
    let in_doubt = !renewal.in_doubt.is_empty();
    if !in_doubt && !renewal.is_ours(session) {
        return Outcome::Unrecognised;
    }
    let family = family(session, renewal.flush_count);
    if renewal.in_doubt.contains(&session.token_id) {
        // It was committed.
        return if family.ended {
            Outcome::Refused(Refusal::Revoked)
        } else {
            Outcome::Renewed(Box::new(session.clone()))
        };
    }
    let decision = family.present(
        renewal.presented,
        renewal.now,
        renewal.grace,
        RetryPolicy::Repeat,
        renewal.next,
    );
    match decision {
        Decision::Ended => Outcome::Refused(Refusal::Revoked),
        // Who has used it may be this very renewal.
        Decision::Reuse if in_doubt && session.is_revoked() => Outcome::Refused(Refusal::Revoked),
        Decision::Reuse if in_doubt => Outcome::Unconfirmed,
        // A reuse is seen even if the token has expired: an old token that leaked is told by its identity alone.
        Decision::Reuse if session.is_revoked() => Outcome::Refused(Refusal::Used),
        Decision::Reuse => {
            session.revoked_at = Some(renewal.now);
            session.revoked_for = Some(session::Revocation::Reuse);
            Outcome::Reused
        }
        _ if renewal.now >= renewal.expires_at + renewal.leeway => {
            Outcome::Refused(Refusal::Expired)
        }
        // The pair that followed is over, too: there is nothing that could be answered again.
        Decision::Repeat if renewal.now >= session.expires_at + renewal.leeway => {
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
    if !renewal.is_verified {
        return Outcome::Unrecognised;
    }
    let expired = renewal.now >= renewal.expires_at + renewal.leeway;
    Outcome::Refused(if expired {
        Refusal::Expired
    } else {
        Refusal::Revoked
    })
}

/// What the row says of the token family of refresh tokens.
pub fn family(session: &session::Model, flush_count: i64) -> TokenFamily<TokenId> {
    // Rows of earlier releases may grant the parent a longer time than there is now.
    let latest = session.issued_at + Span::seconds(LONGEST_REFRESH_GRACE);
    let parent = session.parent_id.zip(session.parent_until);
    TokenFamily {
        current: session.token_id,
        parent: parent.map(|(id, until)| Parent {
            id,
            until: until.min(latest),
        }),
        ended: session.is_revoked() || session.flush_count != flush_count,
    }
}

fn advance(session: &mut session::Model, next: TokenFamily<TokenId>, renewal: &Renewal) {
    session.token_id = next.current;
    session.parent_id = next.parent.map(|parent| parent.id);
    session.parent_until = next.parent.map(|parent| parent.until);
    session.generation += 1;
    session.key_id = renewal.key_id;
    renewal.lifetimes.apply(session, renewal.now);
    let fits = session.expires_at == renewal.next_expires_at;
    session.refresh_mac = fits.then(|| renewal.next_mac.clone());
    if let Some(ip) = &renewal.ip {
        session.ip.clone_from(ip);
    }
    if let Some(user_agent) = &renewal.user_agent {
        session.user_agent.clone_from(user_agent);
    }
}

#[cfg(test)]
mod tests;
