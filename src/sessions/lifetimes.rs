//! How long the tokens of an app live, from when they are valid, and when a client is to renew them.

use entity::{Timestamp, app, session, time::Span};
use rand::{Rng, RngExt};

/// A browser's timer counts milliseconds in 31 bits: 24 days and a part.
const LATEST_RENEWAL: i64 = 24 * 86_400;

/// How long the tokens of an app live, and from when they are valid.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    auth_not_before: Span,
    auth_expiry: Span,
    refresh_not_before: Span,
    refresh_expiry: Span,
}

/// The dates of an auth token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthDates {
    pub issued_at: Timestamp,
    pub not_before: Timestamp,
    pub expires_at: Timestamp,
}

impl Lifetimes {
    /// An hour, and two.
    #[cfg(test)]
    pub const EXAMPLE: Self = Self {
        auth_not_before: Span::ZERO,
        auth_expiry: Span::seconds(3600),
        refresh_not_before: Span::ZERO,
        refresh_expiry: Span::seconds(7200),
    };

    /// Those of the app's policy.
    pub fn of(app: &app::Model) -> Self {
        Self {
            auth_not_before: Span::seconds(app.token_notbefore),
            auth_expiry: Span::seconds(app.token_expiry),
            refresh_not_before: Span::seconds(app.refresh_notbefore),
            refresh_expiry: Span::seconds(app.refresh_expiry),
        }
    }

    /// From when a refresh token is valid that is issued at `now`.
    pub fn refresh_not_before(self, now: Timestamp) -> Timestamp {
        now.floor_to_second() + self.refresh_not_before
    }

    /// When a refresh token that is issued at `now` expires, unless its session ends before.
    pub fn refresh_expires_at(self, now: Timestamp) -> Timestamp {
        now.floor_to_second() + self.refresh_expiry
    }

    /// Dates a pair that is issued at `now`; nothing outlives the session.
    pub fn apply(self, session: &mut session::Model, now: Timestamp) {
        // The dates of a token are whole seconds, counted from its `iat`.
        let issued = now.floor_to_second();
        let end = session.ends_at.unwrap_or(Timestamp::from_millis(i64::MAX));
        session.issued_at = now;
        session.auth_not_before = issued + self.auth_not_before;
        session.auth_expires_at = (issued + self.auth_expiry).min(end);
        session.not_before = self.refresh_not_before(now);
        session.expires_at = self.refresh_expires_at(now).min(end);
        session.purge_at = session::purge_at(session.expires_at);
    }

    /// The dates of the auth token of a pair that is handed out at `now`: those that it was issued with. Should less than a
    /// tenth of its life be left, it is dated anew, because its receiver has no use for it.
    pub fn auth_dates(self, session: &session::Model, now: Timestamp) -> AuthDates {
        let issued = AuthDates {
            issued_at: session.issued_at.floor_to_second(),
            not_before: session.auth_not_before,
            expires_at: session.auth_expires_at,
        };
        let now = now.floor_to_second();
        let life = issued.expires_at.since(issued.issued_at).as_seconds_ceil();
        let left = issued.expires_at.since(now).as_seconds_ceil();
        // No later than either token of the pair was to end. The session ends then, and its signing key is kept until then.
        let latest = session.auth_expires_at.max(session.expires_at);
        let expires_at = (now + self.auth_expiry).min(latest);
        if left * 10 >= life || expires_at <= issued.expires_at {
            return issued;
        }
        AuthDates {
            issued_at: now,
            not_before: now.max(issued.not_before),
            expires_at,
        }
    }
}

/// Seconds from `now` until a client is to renew a pair whose auth token ends at `auth_end`, and whose refresh token is valid
/// from `refresh_start` until `refresh_end`: when 0.7 to 0.9 of what the pair has left to live have passed, not all
/// clients at once. Not before the refresh token is valid, where that is before the pair ends.
pub fn renew_after(
    now: Timestamp,
    auth_end: Timestamp,
    (refresh_start, refresh_end): (Timestamp, Timestamp),
    rng: &mut (impl Rng + ?Sized),
) -> i64 {
    let now = now.floor_to_second();
    let seconds = |time: Timestamp| time.since(now).as_seconds_ceil();
    let life = seconds(auth_end.min(refresh_end));
    let last = (life - 1).max(1);
    let until = (life * 9 / 10).max(1);
    let from = ((life * 7 + 9) / 10).min(until);
    let earliest = seconds(refresh_start);
    let (from, until) = if earliest <= from || earliest > last {
        (from, until)
    } else if earliest <= until {
        (earliest, until)
    } else {
        (earliest, earliest.midpoint(last))
    };
    rng.random_range(from..=until).min(LATEST_RENEWAL)
}

#[cfg(test)]
mod tests {
    use entity::TokenId;
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::ChaCha12Rng};

    use super::*;
    use crate::sessions::samples;

    const YEAR: i64 = 31_536_000;
    const START: i64 = 1_740_427_049;

    /// What an app may say of its tokens, and when its sessions end.
    #[derive(Clone, Debug)]
    struct Policy {
        lifetimes: Lifetimes,
        session_end: Option<i64>,
    }

    /// Small numbers as often as large ones.
    fn seconds(from: i64, until: i64) -> BoxedStrategy<i64> {
        prop_oneof![
            from..=until,
            from..=until.min(from + 300),
            from..=until.min(from + 90_000)
        ]
        .boxed()
    }

    fn policies() -> impl Strategy<Value = Policy> {
        (
            seconds(60, YEAR),
            seconds(60, YEAR),
            proptest::option::of(seconds(1, YEAR)),
        )
            .prop_flat_map(|(auth, refresh, session_end)| {
                (seconds(0, auth - 1), seconds(0, auth.min(refresh) - 1)).prop_map(
                    move |(auth_wait, refresh_wait)| Policy {
                        lifetimes: Lifetimes {
                            auth_not_before: Span::seconds(auth_wait),
                            auth_expiry: Span::seconds(auth),
                            refresh_not_before: Span::seconds(refresh_wait),
                            refresh_expiry: Span::seconds(refresh),
                        },
                        session_end,
                    },
                )
            })
    }

    fn session(policy: &Policy, now: Timestamp) -> session::Model {
        let ends_at = policy
            .session_end
            .map(|end| now.floor_to_second() + Span::seconds(end));
        let token_id = TokenId::mint(now, &mut ChaCha12Rng::seed_from_u64(1));
        let mut session = session::Model {
            ends_at,
            ..samples::session(token_id, now)
        };
        policy.lifetimes.apply(&mut session, now);
        session
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// For every policy, and for every moment at which the pair is answered again while its refresh token lives.
        #[test]
        fn a_client_that_renews_when_it_is_told_has_a_good_auth_token(
            policy in policies(),
            part_of_a_second in 0_i64..1000,
            later in prop_oneof![Just(0), 0_i64..90_000, 0..=1000 * YEAR],
            seed in any::<u64>(),
        ) {
            let issued = Timestamp::from_millis(START * 1000 + part_of_a_second);
            let session = session(&policy, issued);
            let life = session.expires_at.since(issued).as_seconds_ceil() * 1000 - 1000;
            let now = Timestamp::from_millis(issued.as_millis() + later % life.max(1));
            let dates = policy.lifetimes.auth_dates(&session, now);

            // Handed out with some life in it, and never longer than it may be.
            prop_assert!(dates.expires_at > now);
            prop_assert!(dates.expires_at <= session.auth_expires_at.max(session.expires_at));
            prop_assert!(session.ends_at.is_none_or(|end| dates.expires_at <= end));
            prop_assert!(dates.issued_at <= now && dates.issued_at >= issued.floor_to_second());
            prop_assert!(later > 0 || dates.issued_at == issued.floor_to_second());
            let left = |end: Timestamp| end.since(now.floor_to_second()).as_seconds_ceil();
            prop_assert!(dates.expires_at.since(dates.issued_at) <= policy.lifetimes.auth_expiry);
            let whole = session.auth_expires_at.since(issued.floor_to_second()).as_seconds_ceil();
            prop_assert!(left(dates.expires_at) * 10 >= whole
                || left(dates.expires_at) >= left(session.expires_at));

            let refresh = (session.not_before, session.expires_at);
            let told = renew_after(now, dates.expires_at, refresh, &mut ChaCha12Rng::seed_from_u64(seed));
            let (expires_in, nbf) = (left(dates.expires_at), left(session.not_before));
            let life = expires_in.min(left(session.expires_at));
            prop_assert!((1..=LATEST_RENEWAL).contains(&told), "{told}");
            prop_assert!(told < life || life == 1, "{told} of {life}");
            let leaves_room = nbf < life && nbf <= LATEST_RENEWAL;
            prop_assert!(told >= nbf || !leaves_room, "{told} before {nbf}, {life}");
            if nbf * 10 <= life * 9 || nbf >= life {
                prop_assert!(told * 10 <= life * 9 || life < 3, "{told} of {life}");
                prop_assert!(told * 10 >= (life * 7).min(LATEST_RENEWAL * 10) || life < 10, "{told} of {life}");
            }
        }
    }

    /// Of the policy that the README begins with: 3600 seconds and 14 days.
    #[test]
    fn clients_are_spread() {
        let now = Timestamp::from_seconds(START);
        let (auth, refresh) = (now + Span::seconds(3600), now + Span::seconds(14 * 86_400));
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let mut told: Vec<_> = (0..200)
            .map(|_| renew_after(now, auth, (now, refresh), &mut rng))
            .collect();
        told.sort_unstable();
        assert!(told[0] >= 2520 && told[199] <= 3240, "{told:?}");
        assert!(told[0] < 2600 && told[199] > 3160, "{told:?}");
        // A refresh token that is valid late leaves less room, but some.
        let late = now + Span::seconds(3500);
        let mut told: Vec<_> = (0..200)
            .map(|_| renew_after(now, auth, (late, refresh), &mut rng))
            .collect();
        told.sort_unstable();
        assert!(
            told[0] >= 3500 && told[199] < 3600 && told[0] < told[199],
            "{told:?}"
        );
    }

    /// What is nearly over is dated anew; not before.
    #[test]
    fn an_auth_token_is_dated_anew_near_its_end() {
        let issued = Timestamp::from_seconds(START);
        let policy = Policy {
            lifetimes: Lifetimes::EXAMPLE,
            session_end: None,
        };
        let session = session(&policy, issued);
        let after = |seconds| {
            policy
                .lifetimes
                .auth_dates(&session, issued + Span::seconds(seconds))
        };
        for seconds in [0, 60, 3240] {
            assert_eq!(after(seconds).issued_at, issued);
            assert_eq!(after(seconds).expires_at, issued + Span::seconds(3600));
        }
        for seconds in [3241, 3600, 5000] {
            let now = issued + Span::seconds(seconds);
            let end = (now + Span::seconds(3600)).min(issued + Span::seconds(7200));
            let expected = AuthDates {
                issued_at: now,
                not_before: now,
                expires_at: end,
            };
            assert_eq!(after(seconds), expected);
        }
    }
}
