//! A session and a renewal, for the tests of the rules.

use std::sync::Arc;

use entity::{
    AppId, SessionId, SigningKeyId, Timestamp, TokenId,
    session::{self, TokenMac},
    time::Span,
};

use super::{lifetimes::Lifetimes, renewal::Renewal};
use crate::audit::Actor;

/// A session that begins at `now` with the pair `token_id`. All of its dates are `now`.
pub fn session(token_id: TokenId, now: Timestamp) -> session::Model {
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
        issued_at: now,
        auth_not_before: now,
        auth_expires_at: now,
        not_before: now,
        expires_at: now,
        purge_at: now,
        refresh_mac: None,
        ends_at: None,
        revoked_at: None,
        revoked_for: None,
    }
}

/// A renewal of that session: `presented` is presented at `now`, and `next` is to follow it.
pub fn renewal(presented: TokenId, next: TokenId, now: Timestamp) -> Renewal {
    Renewal {
        app_id: AppId::EXAMPLE,
        epoch: 0,
        actor: Arc::new(Actor::cli()),
        session_id: SessionId::EXAMPLE,
        presented,
        not_before: now,
        expires_at: now + Span::seconds(120),
        now,
        mac: TokenMac::new([1; 16]),
        is_verified: false,
        leeway: Span::ZERO,
        grace: Span::ZERO,
        flush_count: 0,
        next,
        key_id: SigningKeyId::EXAMPLE,
        lifetimes: Lifetimes::EXAMPLE,
        next_mac: TokenMac::new([2; 16]),
        next_expires_at: Lifetimes::EXAMPLE.refresh_expires_at(now),
        ip: None,
        user_agent: None,
        in_doubt: Vec::new(),
    }
}
