//! The rule of renewals, put to its tests.

use rand::{SeedableRng, rngs::ChaCha12Rng};

use super::*;
use crate::sessions::samples;

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
        auth_expires_at: NOW + Span::seconds(60),
        expires_at: NOW + Span::seconds(120),
        refresh_mac: Some(TokenMac::new([1; 16])),
        ..samples::session(token_id, NOW)
    }
}

fn renewal(presented: TokenId, next: TokenId, grace: i64) -> Renewal {
    Renewal {
        grace: Span::seconds(grace),
        ..samples::renewal(presented, next, NOW)
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
