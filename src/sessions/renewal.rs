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
    rotation::{Decision, Lineage, Parent, RetryPolicy},
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
    let lineage = lineage(session, renewal.flush_count);
    if renewal.in_doubt.contains(&session.token_id) {
        // It was committed.
        return if lineage.ended {
            Outcome::Refused(Refusal::Revoked)
        } else {
            Outcome::Renewed(Box::new(session.clone()))
        };
    }
    let decision = lineage.present(
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
        // Seen whatever its dates: an old token that leaked is told by its identity alone.
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

/// What the row says of the lineage of refresh tokens.
pub fn lineage(session: &session::Model, flush_count: i64) -> Lineage<TokenId> {
    // Rows of earlier releases may grant the parent a longer time than there is now.
    let latest = session.issued_at + Span::seconds(LONGEST_REFRESH_GRACE);
    let parent = session.parent_id.zip(session.parent_until);
    Lineage {
        current: session.token_id,
        parent: parent.map(|(id, until)| Parent {
            id,
            until: until.min(latest),
        }),
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
mod tests {
    use rand::{SeedableRng, rngs::ChaCha12Rng};

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_740_427_049);

    struct Ids(ChaCha12Rng);

    impl Ids {
        fn token(&mut self) -> TokenId {
            TokenId::mint(NOW, &mut self.0)
        }
    }

    fn ids() -> Ids {
        Ids(ChaCha12Rng::seed_from_u64(3))
    }

    fn session(token_id: TokenId) -> session::Model {
        session::Model {
            id: SessionId::EXAMPLE,
            app_id: AppId::EXAMPLE,
            sub: String::new(),
            claims: String::new(),
            ip: String::new(),
            user_agent: String::new(),
            device_id: None,
            token_id,
            key_id: SigningKeyId::EXAMPLE,
            parent_id: None,
            parent_until: None,
            generation: session::FIRST_GENERATION,
            flush_count: 0,
            issued_at: NOW,
            auth_not_before: NOW,
            auth_expires_at: NOW + Span::seconds(60),
            not_before: NOW,
            expires_at: NOW + Span::seconds(120),
            purge_at: NOW,
            refresh_mac: Some(TokenMac::new([1; 16])),
            ends_at: None,
            revoked_at: None,
            revoked_for: None,
        }
    }

    fn renewal(presented: TokenId, next: TokenId, grace: i64) -> Renewal {
        Renewal {
            app_id: AppId::EXAMPLE,
            epoch: 0,
            actor: Arc::new(Actor::cli()),
            session_id: SessionId::EXAMPLE,
            presented,
            not_before: NOW,
            expires_at: NOW + Span::seconds(120),
            mac: TokenMac::new([1; 16]),
            is_verified: false,
            now: NOW,
            leeway: Span::ZERO,
            grace: Span::seconds(grace),
            flush_count: 0,
            next,
            key_id: SigningKeyId::EXAMPLE,
            lifetimes: Lifetimes::EXAMPLE,
            next_mac: TokenMac::new([2; 16]),
            next_expires_at: Lifetimes::EXAMPLE.refresh_expires_at(NOW),
            ip: None,
            user_agent: None,
            in_doubt: Vec::new(),
        }
    }

    fn in_doubt(renewal: &Renewal) -> Renewal {
        let mut renewal = renewal.clone();
        renewal.doubt();
        renewal
    }

    /// A commit that was not confirmed: if the row has what was to follow, it was made, and the answer is the same; if it
    /// still has what was presented, it was not, and is made now.
    #[test]
    fn a_doubt_is_settled_by_the_row() {
        for grace in [0, 10] {
            let mut ids = ids();
            let (first, second) = (ids.token(), ids.token());
            let renewal = renewal(first, second, grace);
            let mut committed = session(first);
            let answered = decide(&mut committed, &renewal);
            let before = committed.clone();
            assert_eq!(decide(&mut committed, &in_doubt(&renewal)), answered);
            assert_eq!(committed, before, "not a second time");

            let mut rolled_back = session(first);
            assert_eq!(decide(&mut rolled_back, &in_doubt(&renewal)), answered);
            assert_eq!(rolled_back, before);
        }
    }

    /// What was used by this renewal, or by another one, is no reuse of it.
    #[test]
    fn a_doubt_is_no_reuse() {
        let mut ids = ids();
        let (first, second, third, other) = (ids.token(), ids.token(), ids.token(), ids.token());
        let ours = renewal(first, second, 0);
        // Renewed on since, by somebody who was answered.
        for successor in [third, other] {
            let mut row = session(successor);
            let before = row.clone();
            assert_eq!(decide(&mut row, &in_doubt(&ours)), Outcome::Unconfirmed);
            assert_eq!(row, before);
            // Without the doubt it is one, if it is ours.
            assert_eq!(decide(&mut row, &ours), Outcome::Unrecognised);
            let verified = Renewal {
                is_verified: true,
                ..ours.clone()
            };
            assert_eq!(decide(&mut row, &verified), Outcome::Reused);
        }
        // Ended since.
        let mut row = session(second);
        row.revoked_at = Some(NOW);
        row.revoked_for = Some(session::Revocation::Logout);
        let ended = Outcome::Refused(Refusal::Revoked);
        assert_eq!(decide(&mut row, &in_doubt(&ours)), ended);
    }

    /// A renewal that was prepared anew, each time after a commit that was not confirmed, knows each of its successors, and is no
    /// reuse of any: not where one of them turns out to be stored, not where it is not.
    #[test]
    fn doubts_pile_up() {
        for grace in [0, 10] {
            let mut ids = ids();
            let (first, other) = (ids.token(), ids.token());
            let candidates = [ids.token(), ids.token(), ids.token()];
            let mut last = renewal(first, candidates[0], grace);
            for next in &candidates[1..] {
                last = Renewal {
                    in_doubt: in_doubt(&last).in_doubt,
                    ..renewal(first, *next, grace)
                };
            }
            assert_eq!(last.in_doubt, candidates[..2]);

            for stored in &candidates[..2] {
                let mut committed = session(first);
                let theirs = decide(&mut committed, &renewal(first, *stored, grace));
                let before = committed.clone();
                assert!(last.is_settled(&committed));
                assert_eq!(decide(&mut committed, &last), theirs);
                assert_eq!(committed, before, "not a second time");
                committed.revoked_at = Some(NOW);
                let ended = Outcome::Refused(Refusal::Revoked);
                assert_eq!(decide(&mut committed, &last), ended);
            }

            // None of them was: then it is made now.
            let mut rolled_back = session(first);
            assert!(!last.is_settled(&rolled_back));
            assert!(decide(&mut rolled_back, &last).follows(candidates[2]));

            // Renewed on since: it cannot be told any more, and nobody is logged out for it.
            let mut moved_on = session(other);
            let before = moved_on.clone();
            assert_eq!(decide(&mut moved_on, &last), Outcome::Unconfirmed);
            assert_eq!(moved_on, before);
            moved_on.revoked_at = Some(NOW);
            let ended = Outcome::Refused(Refusal::Revoked);
            assert_eq!(decide(&mut moved_on, &last), ended);
        }
    }
}
