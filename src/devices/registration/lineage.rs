//! What becomes of a registration token that is presented, pure: the row in, the row after it or a refusal out.

use entity::{
    SecretHash, Timestamp, app,
    registration_token::{Model, purge_at},
    time::Span,
};

use crate::{
    error::RegistrationRefusal as Refusal,
    rotation::{Decision, Lineage, Parent, RetryPolicy},
};

/// The time over which the uses of a device are counted.
const WINDOW: Span = Span::seconds(3600);

/// A token that is presented at `now`, by the policy of its app.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    pub hash: &'a SecretHash,
    pub now: Timestamp,
    pub grace: Span,
    /// Seconds that a token lives whose lineage does not say.
    pub expiry: Option<i64>,
    /// The app's count of flushes: the lineages of another are dead.
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

impl<'a> Presented<'a> {
    /// By the policy of this app.
    pub fn to(app: &app::Model, hash: &'a SecretHash, now: Timestamp, limit: u32) -> Self {
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

/// Whether the token is one that the lineage has, whatever became of that.
pub fn is_known(row: &Model, hash: &SecretHash, now: Timestamp) -> bool {
    let parent = row.parent_hash.as_ref().zip(row.parent_until);
    row.current_hash == *hash || parent.is_some_and(|(parent, until)| parent == hash && now < until)
}

/// Lets the token be followed by `next`.
///
/// # Errors
/// When it may not.
pub fn refresh(row: &Model, presented: Presented, next: &SecretHash) -> Result<Next, Refusal> {
    let now = presented.now;
    let decision = decide(row, presented, next)?;
    let mut after = counted(row, presented)?;
    let is_first = matches!(decision, Decision::Advance(_));
    let (Decision::Advance(lineage) | Decision::Replace(lineage)) = decision else {
        return Err(Refusal::Invalid);
    };
    after.current_hash = lineage.current.clone();
    after.parent_hash = lineage.parent.map(|parent| parent.id.clone());
    after.parent_until = lineage.parent.map(|parent| parent.until);
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

/// Lets the device be known by the token, which stays what it is; the row after it counts this use.
///
/// # Errors
/// When it may not.
pub fn exchange(row: &Model, presented: Presented) -> Result<Model, Refusal> {
    decide(row, presented, presented.hash)?;
    counted(row, presented)
}

fn decide<'a>(
    row: &'a Model,
    presented: Presented<'a>,
    next: &'a SecretHash,
) -> Result<Decision<&'a SecretHash>, Refusal> {
    let now = presented.now;
    let lineage = Lineage {
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
    match lineage.present(presented.hash, now, grace, policy, next) {
        Decision::Reuse => Err(Refusal::Invalid),
        Decision::Ended => Err(Refusal::Revoked),
        Decision::Advance(_) if row.expires_at.is_some_and(|end| now >= end) => {
            Err(Refusal::Expired)
        }
        decision => Ok(decision),
    }
}

/// The row with one use more, if the device may use its token now.
fn counted(row: &Model, presented: Presented) -> Result<Model, Refusal> {
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
mod tests {
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

    fn presented(hash: &SecretHash, now: Timestamp) -> Presented<'_> {
        Presented {
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
    fn each_token_lives_as_long_as_the_lineage_says_else_as_the_policy_does() {
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
            let presented = Presented {
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
    fn a_lineage_that_was_ended_or_flushed_is_revoked() {
        let (zero, one) = (hash(0), hash(1));
        let revoked = Model {
            revoked_at: Some(START),
            ..row(Some(START))
        };
        let now = presented(&zero, START);
        assert_eq!(refresh(&revoked, now, &one), Err(Refusal::Revoked));
        let flushed = Presented {
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
        let at = |now| Presented {
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
        /// Whatever is presented and whenever: one token is live, and in every window there are no more uses than the limit.
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
                let presented = Presented { limit, ..presented(&token, now) };
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
}
