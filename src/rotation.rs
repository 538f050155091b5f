//! The one rule by which every renewable credential is renewed (RFC 9700 section 4.14.2).
//!
//! A token family remembers the current credential and its immediate parent. Nothing older needs
//! remembering: a credential that verifies as ours and is neither of the two is a reuse.

use entity::{Timestamp, time::Span};

/// What a credential's token family remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenFamily<Id> {
    /// The only credential that can be renewed.
    pub current: Id,
    /// The one that `current` replaced, while presenting it again is tolerated.
    pub parent: Option<Parent<Id>>,
    /// Whether it was ended: nothing is renewed any more.
    pub ended: bool,
}

/// The immediate parent of the current credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent<Id> {
    pub id: Id,
    /// Fixed when the parent was renewed; it never slides.
    pub until: Timestamp,
}

/// What a parent gets that is presented within its grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryPolicy {
    /// The same successor again.
    Repeat,
    /// A new successor; the one before is dead.
    Replace,
}

/// What becomes of a presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<Id> {
    /// The credential was the current one: the token family goes on with `next`.
    Advance(TokenFamily<Id>),
    /// The parent within its grace: the current credential is answered again.
    Repeat,
    /// The parent within its grace: the token family goes on with `next` in place of the current one.
    Replace(TokenFamily<Id>),
    /// Neither the current one nor a tolerated parent: it was used before.
    Reuse,
    /// It would be renewed, had the token family not been ended.
    Ended,
}

impl<Id: Copy + PartialEq> TokenFamily<Id> {
    /// A token family that begins with `id`.
    pub fn begin(id: Id) -> Self {
        Self {
            current: id,
            parent: None,
            ended: false,
        }
    }

    /// Decides what becomes of `id`, presented at `now`; `next` is the successor, should there be one,
    /// and `grace` for how long its parent is tolerated. Identity decides, never the age of a token.
    pub fn present(
        &self,
        id: Id,
        now: Timestamp,
        grace: Span,
        policy: RetryPolicy,
        next: Id,
    ) -> Decision<Id> {
        let retried = self
            .parent
            .filter(|parent| parent.id == id && now < parent.until);
        if id != self.current && retried.is_none() {
            return Decision::Reuse;
        }
        if self.ended {
            return Decision::Ended;
        }
        match (retried, policy) {
            (None, _) => Decision::Advance(Self {
                current: next,
                parent: (grace > Span::ZERO).then(|| Parent {
                    id,
                    until: now + grace,
                }),
                ended: false,
            }),
            (Some(_), RetryPolicy::Repeat) => Decision::Repeat,
            (Some(_), RetryPolicy::Replace) => Decision::Replace(Self {
                current: next,
                ..*self
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// Present one of the credentials issued so far.
        Present(prop::sample::Index),
        Revoke,
        /// Move the clock by so many milliseconds, backwards too.
        Clock(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            12 => any::<prop::sample::Index>().prop_map(Step::Present),
            1 => Just(Step::Revoke),
            6 => (-3_000_i64..8_000).prop_map(Step::Clock),
        ];
        prop::collection::vec(step, 0..80)
    }

    /// What is known of the history from outside, by other means than the token family.
    struct History {
        issued: u32,
        current: u32,
        /// The immediate parent, and the deadline that its renewal set.
        parent: Option<(u32, Timestamp)>,
        revoked: bool,
    }

    fn check(policy: RetryPolicy, grace_seconds: i64, steps: Vec<Step>) {
        let grace = Span::seconds(grace_seconds);
        let mut now = Timestamp::from_seconds(1_740_427_049);
        let mut family = TokenFamily::begin(0_u32);
        let mut history = History {
            issued: 1,
            current: 0,
            parent: None,
            revoked: false,
        };
        for step in steps {
            match step {
                Step::Clock(by) => now = Timestamp::from_millis(now.as_millis() + by),
                Step::Revoke => {
                    family.ended = true;
                    history.revoked = true;
                }
                Step::Present(index) => {
                    let id = u32::try_from(index.index(history.issued as usize)).unwrap();
                    let next = history.issued;
                    let decision = family.present(id, now, grace, policy, next);
                    let in_window = history
                        .parent
                        .is_some_and(|(parent, deadline)| parent == id && now < deadline);
                    match decision {
                        Decision::Advance(to) => {
                            assert_eq!(id, history.current, "only the current one advances");
                            assert!(!history.revoked);
                            history.parent = (grace_seconds > 0).then_some((id, now + grace));
                            history.current = next;
                            history.issued += 1;
                            family = to;
                        }
                        Decision::Repeat => {
                            assert_eq!(policy, RetryPolicy::Repeat);
                            assert!(in_window && !history.revoked && grace_seconds > 0);
                            assert_eq!(family.current, history.current);
                        }
                        Decision::Replace(to) => {
                            assert_eq!(policy, RetryPolicy::Replace);
                            assert!(in_window && !history.revoked && grace_seconds > 0);
                            history.current = next;
                            history.issued += 1;
                            family = to;
                        }
                        Decision::Reuse => {
                            assert!(id != history.current && !in_window);
                            // What the server does about a session.
                            family.ended = true;
                            history.revoked = true;
                        }
                        Decision::Ended => {
                            assert!(history.revoked && (id == history.current || in_window));
                        }
                    }
                }
            }
            let live = (0..history.issued)
                .filter(|&id| {
                    let decision = family.present(id, now, grace, policy, u32::MAX);
                    matches!(decision, Decision::Advance(_))
                })
                .count();
            assert_eq!(
                live,
                usize::from(!history.revoked),
                "one live successor, or none"
            );
            // However old they are, and however the clock moved: all other credentials are seen as a reuse.
            for id in 0..history.issued {
                let tolerated = history.parent.is_some_and(|(parent, _)| parent == id);
                if id != history.current && !tolerated {
                    let decision = family.present(id, now, grace, policy, u32::MAX);
                    assert_eq!(decision, Decision::Reuse, "generation {id}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn repeat_keeps_the_rule(grace in 0_i64..20, steps in steps()) {
            check(RetryPolicy::Repeat, grace, steps);
        }

        #[test]
        fn replace_keeps_the_rule(grace in 0_i64..20, steps in steps()) {
            check(RetryPolicy::Replace, grace, steps);
        }

        #[test]
        fn no_grace_is_strictly_single_use(steps in steps()) {
            check(RetryPolicy::Repeat, 0, steps.clone());
            check(RetryPolicy::Replace, 0, steps);
        }
    }

    #[test]
    fn the_window_has_an_exact_end_and_the_use_of_the_successor_closes_it() {
        let (start, grace) = (Timestamp::from_seconds(1_000), Span::seconds(10));
        let present = |family: TokenFamily<u8>, id, at: i64| {
            let at = Timestamp::from_millis(at);
            family.present(id, at, grace, RetryPolicy::Repeat, id + 1)
        };
        let Decision::Advance(second) = present(TokenFamily::begin(0), 0, start.as_millis()) else {
            panic!("the first presentation advances");
        };
        assert_eq!(present(second, 0, 1_009_999), Decision::Repeat);
        assert_eq!(present(second, 0, 1_010_000), Decision::Reuse);
        let Decision::Advance(third) = present(second, 1, 1_001_000) else {
            panic!("the successor advances");
        };
        assert_eq!(present(third, 0, 1_001_001), Decision::Reuse);
    }
}
