//! What a key is at a moment, by its dates.

use super::*;

const DAY: i64 = 86_400;

fn key(activates_at: i64, revoked_at: Option<i64>) -> KeyDates {
    KeyDates {
        created_at: Timestamp::from_seconds(activates_at),
        activates_at: Timestamp::from_seconds(activates_at),
        revoked_at: revoked_at.map(Timestamp::from_seconds),
        token_life: Span::seconds(100),
    }
}

#[test]
fn the_states_follow_from_the_dates() {
    let name = |keys: &[KeyDates], now| -> Vec<_> {
        let states = states(keys, Timestamp::from_seconds(now));
        states.iter().map(|state| state.name()).collect()
    };
    let two = [key(1000, None), key(2000, None)];
    assert_eq!(name(&two, 500), ["active", "published"]);
    assert_eq!(name(&two, 1999), ["active", "published"]);
    assert_eq!(name(&two, 2000), ["retired", "active"]);
    // The life of its tokens, the cache bound and the skew after the last one could be signed.
    assert_eq!(name(&two, 2000 + 100 + 1 + 60 - 1), ["retired", "active"]);
    assert_eq!(name(&two, 2000 + 100 + 1 + 60), ["gone", "active"]);

    // A successor that was revoked before its time never signed: the first goes on.
    let unused = [key(1000, None), key(2000, Some(1500))];
    assert_eq!(name(&unused, 1600), ["active", "revoked"]);
    assert_eq!(name(&unused, 2500), ["active", "gone"]);
    let emergency = [key(1000, Some(1500)), key(1500, None)];
    assert_eq!(name(&emergency, 1500), ["revoked", "active"]);
    assert_eq!(name(&emergency, 1500 + 160), ["gone", "active"]);
    assert_eq!(name(&[key(1000, Some(1500))], 1500), ["revoked"]);
}

#[test]
fn a_successor_is_published_its_lead_before_it_signs() {
    let policy = RotationPolicy {
        period: Span::seconds(1000),
        jwks_max_age: Span::seconds(300),
    };
    let at = Timestamp::from_seconds;
    let first = [key(1000, None)];
    assert_eq!(next_step(&first, policy, at(1000)), Step::Wait(at(1639)));
    assert_eq!(
        next_step(&first, policy, at(1639)),
        Step::Publish {
            activates_at: at(2000)
        }
    );
    // Late, because nobody was there: it is published for as long all the same.
    assert_eq!(
        next_step(&first, policy, at(1900)),
        Step::Publish {
            activates_at: at(2261)
        }
    );
    let both = [key(1000, None), key(2000, None)];
    assert_eq!(next_step(&both, policy, at(1700)), Step::Wait(at(2000)));
    assert_eq!(next_step(&both, policy, at(2000)), Step::Wait(at(2161)));
}

/// A key is gone when nothing of it can live, and removed a day later: the clock may be ahead by so much.
#[test]
fn a_key_that_is_gone_is_kept_for_a_day() {
    let policy = RotationPolicy {
        period: Span::seconds(10 * DAY),
        jwks_max_age: Span::seconds(300),
    };
    let at = Timestamp::from_seconds;
    let both = [key(1000, None), key(2000, None)];
    let removed = |now| over(&states(&both, at(now)), at(now));
    assert_eq!(
        next_step(&both, policy, at(2161)),
        Step::Wait(at(2161 + DAY))
    );
    assert_eq!(removed(2161 + DAY - 1), [] as [usize; 0]);
    assert_eq!(removed(2161 + DAY), [0]);

    // Not a day of keys that live for a minute.
    let many: Vec<_> = (0..=300)
        .map(|index| key(1000 + 60 * index, None))
        .collect();
    let states = states(&many, at(1000 + 60 * 300));
    let gone = states.iter().filter(|state| state.name() == "gone").count();
    assert_eq!(
        over(&states, at(1000 + 60 * 300)),
        (0..gone - 100).collect::<Vec<_>>()
    );
}
