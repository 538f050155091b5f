//! For every policy that is accepted: a session that begins by it can be used, and be renewed.

use entity::{AppId, Timestamp, TokenId, app, session, time::Span};
use proptest::prelude::*;
use rand::{SeedableRng, rngs::ChaCha12Rng};

use crate::{
    apps::NewApp,
    sessions::{
        Lifetimes,
        renewal::{Outcome, Renewal, decide},
        samples,
    },
};

const START: i64 = 1_740_427_049_000;

/// Near the shortest that there may be, where they meet, as often as anywhere.
fn seconds(from: i64) -> impl Strategy<Value = i64> {
    prop_oneof![4 => from..=from + 12, 2 => 50_i64..75, 1 => from..=31_536_000]
}

prop_compose! {
    fn policies()(
        token_expire in seconds(60),
        token_notbefore in prop_oneof![Just(0), seconds(50)],
        refresh_expire in seconds(60),
        refresh_notbefore in prop_oneof![Just(0), seconds(50)],
        session_expire in prop::option::weighted(0.8, seconds(60)),
        refresh_grace in 0_i64..=60,
    ) -> NewApp {
        NewApp {
            token_expire,
            token_notbefore,
            refresh_expire,
            refresh_notbefore,
            session_expire,
            refresh_grace,
            ..NewApp::named("a".to_owned())
        }
    }
}

fn ids(now: Timestamp, seed: u64) -> TokenId {
    TokenId::mint(now, &mut ChaCha12Rng::seed_from_u64(seed))
}

fn begin(policy: &app::Model, now: Timestamp) -> session::Model {
    let end = policy.session_expiry.map(Span::seconds);
    let mut session = session::Model {
        app_id: policy.id,
        ends_at: end.map(|end| now.floor_to_second() + end),
        ..samples::session(ids(now, 1), now)
    };
    Lifetimes::of(policy).apply(&mut session, now);
    session
}

/// What the client asks for that presents the refresh token of `session` at `now`.
fn renewal(policy: &app::Model, session: &session::Model, now: Timestamp) -> Renewal {
    let lifetimes = Lifetimes::of(policy);
    Renewal {
        app_id: policy.id,
        not_before: session.not_before,
        expires_at: session.expires_at,
        is_verified: true,
        grace: Span::seconds(policy.refresh_grace),
        lifetimes,
        next_expires_at: lifetimes.refresh_expires_at(now),
        ..samples::renewal(session.token_id, ids(now, 2), now)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8000))]

    #[test]
    fn a_session_of_an_accepted_policy_can_be_renewed(policy in policies(), part_of_a_second in 0_i64..1000) {
        let now = Timestamp::from_millis(START + part_of_a_second);
        let Ok(policy) = policy.into_row(AppId::EXAMPLE, now) else {
            return Ok(());
        };
        let mut session = begin(&policy, now);
        prop_assert!(session.auth_not_before < session.auth_expires_at, "an auth token that is never valid");
        // As soon as it may be.
        let moment = session.not_before.max(now);
        let asked = renewal(&policy, &session, moment);
        let outcome = decide(&mut session, &asked);
        prop_assert!(matches!(outcome, Outcome::Renewed(_)), "{outcome:?}");
        prop_assert!(session.auth_expires_at > moment && session.expires_at > moment);
    }
}
