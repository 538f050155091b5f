//! The rule of registration tokens, put to its tests.

use entity::{AppId, DeviceId, PlainSecret, RegistrationTokenId};
use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_seconds(1_740_427_049);

fn hash(number: usize) -> SecretHash {
    PlainSecret::from_text(&number.to_string()).hash()
}

fn row(expires_at: Option<Timestamp>) -> Model {
    Model {
        id: RegistrationTokenId::EXAMPLE,
        app_id: AppId::EXAMPLE,
        device_id: DeviceId::EXAMPLE,
        current_hash: hash(0),
        parent_hash: None,
        parent_until: None,
        generation: 0,
        flush_count: 0,
        began_at: START,
        issued_at: START,
        expires_at,
        lifetime: None,
        allow_on_behalf_of_registration: false,
        sub: None,
        claims: None,
        audiences: None,
        window_started_at: START,
        window_count: 0,
        revoked_at: None,
        purge_at: None,
    }
}

fn presented(hash: &SecretHash, now: Timestamp) -> Presentation<'_> {
    Presentation {
        hash,
        now,
        grace: Span::seconds(600),
        expiry: None,
        flush_count: 0,
        limit: u32::MAX,
    }
}

fn seconds(seconds: i64) -> Timestamp {
    START + Span::seconds(seconds)
}

#[track_caller]
fn after(next: Result<Next, Refusal>) -> Model {
    match next {
        Ok(Next::Advanced(row) | Next::Replaced(row)) => row,
        Err(refusal) => panic!("{refusal}"),
    }
}

#[test]
fn a_parent_has_its_grace_but_never_outlives_its_own_end() {
    for (end, until) in [(None, 700), (Some(1000), 700), (Some(400), 400)] {
        let first = row(end.map(seconds));
        let (zero, one, two) = (hash(0), hash(1), hash(2));
        let second = refresh(&first, presented(&zero, seconds(100)), &one);
        assert!(matches!(second, Ok(Next::Advanced(_))));
        let second = after(second);
        assert_eq!(second.parent_until, Some(seconds(until)));
        assert_eq!((second.generation, second.expires_at), (1, None));
        let last = Timestamp::from_millis(seconds(until).as_millis() - 1);
        let third = refresh(&second, presented(&zero, last), &two);
        assert!(matches!(third, Ok(Next::Replaced(_))));
        let third = after(third);
        assert_eq!(third.parent_until, Some(seconds(until)), "it never slides");
        assert_eq!(third.current_hash, two);
        let late = presented(&zero, seconds(until));
        assert_eq!(refresh(&second, late, &two), Err(Refusal::Invalid));
        assert!(is_known(&second, &zero, last) && !is_known(&second, &zero, seconds(until)));
    }
}

#[test]
fn each_token_lives_as_long_as_the_family_says_else_as_the_policy_does() {
    let (zero, one) = (hash(0), hash(1));
    for (own, policy, expected) in [
        (None, None, None),
        (None, Some(60), Some(60)),
        (Some(30), Some(60), Some(30)),
        (Some(30), None, Some(30)),
    ] {
        let first = Model {
            lifetime: own,
            ..row(Some(seconds(50)))
        };
        let presented = Presentation {
            expiry: policy,
            ..presented(&zero, seconds(10))
        };
        let second = after(refresh(&first, presented, &one));
        let end = expected.map(|life| seconds(10 + life));
        assert_eq!(second.expires_at, end);
        assert_eq!(second.purge_at, end.map(purge_at));
    }
    let ended = presented(&zero, seconds(50));
    let refused = refresh(&row(Some(seconds(50))), ended, &one);
    assert_eq!(refused, Err(Refusal::Expired));
}

#[test]
fn a_family_that_was_ended_or_flushed_is_revoked() {
    let (zero, one) = (hash(0), hash(1));
    let revoked = Model {
        revoked_at: Some(START),
        ..row(Some(START))
    };
    let now = presented(&zero, START);
    assert_eq!(refresh(&revoked, now, &one), Err(Refusal::Revoked));
    let flushed = Presentation {
        flush_count: 1,
        ..now
    };
    assert_eq!(exchange(&row(None), flushed), Err(Refusal::Revoked));
    assert_eq!(exchange(&row(Some(START)), now), Err(Refusal::Expired));
    let other = presented(&one, START);
    assert_eq!(exchange(&revoked, other), Err(Refusal::Invalid));
}

#[test]
fn the_window_begins_anew_after_an_hour() {
    let zero = hash(0);
    let at = |now| Presentation {
        limit: 2,
        ..presented(&zero, now)
    };
    let once = exchange(&row(None), at(seconds(10))).unwrap();
    let twice = exchange(&once, at(seconds(3599))).unwrap();
    assert_eq!((twice.window_started_at, twice.window_count), (START, 2));
    for (now, wait) in [(3599, 1), (10, 3590), (-3599, 7199)] {
        let retry_after = Span::seconds(wait);
        let refused = Err(Refusal::TooOften { retry_after });
        assert_eq!(exchange(&twice, at(seconds(now))), refused, "{now}");
    }
    for now in [3600, -3600] {
        let next = exchange(&twice, at(seconds(now))).unwrap();
        let window = (next.window_started_at, next.window_count);
        assert_eq!(window, (seconds(now), 1));
    }
}

proptest! {
    /// For every sequence of presentations: one token is live, and in every window there are no more uses than the limit.
    #[test]
    fn one_token_is_live(
        limit in 1_u32..6,
        lifetime in prop::option::of(1_i64..2000),
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0_i64..900, any::<bool>()), 1..60),
    ) {
        let mut now = START;
        let mut stored = Model { lifetime, ..row(lifetime.map(seconds)) };
        let (mut issued, mut uses) = (1, Vec::new());
        for (index, wait, is_refresh) in steps {
            now = now + Span::seconds(wait);
            let (token, next) = (hash(index.index(issued)), hash(issued));
            let presented = Presentation { limit, ..presented(&token, now) };
            let result = if is_refresh {
                refresh(&stored, presented, &next).map(|next| after(Ok(next)))
            } else {
                exchange(&stored, presented)
            };
            if let Ok(after) = result {
                prop_assert!(is_known(&stored, &token, now));
                if is_refresh {
                    prop_assert_eq!(&after.current_hash, &next);
                    issued += 1;
                } else {
                    prop_assert_eq!(&after.current_hash, &stored.current_hash);
                }
                uses.push(after.window_started_at);
                stored = after;
            }
            let known = (0..issued).filter(|&number| is_known(&stored, &hash(number), now));
            prop_assert!(known.count() <= 2, "the current one, and at most its parent");
        }
        for window in &uses {
            let count = uses.iter().filter(|other| *other == window).count();
            prop_assert!(count <= limit as usize);
        }
    }
}
