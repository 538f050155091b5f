//! A year of rotations, revocations, restarts and clock steps, with verifiers that keep the public keys for as
//! long as they may.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const DAY: i64 = 86_400;
const YEAR: i64 = 365 * DAY;

#[derive(Clone, Debug)]
enum Event {
    /// Some time goes by, seconds; the job runs as often as it can.
    Pass(i64),
    /// The clock is set, to so many milliseconds before or after the true time.
    SetClock(i64),
    /// The process, and with it the job, is away for so long.
    Away(i64),
    /// A token is signed, to live for a part of the longest life.
    Sign(prop::sample::Index),
    RotateGracefully,
    RotateInEmergency,
    RevokeActive,
    /// A verifier looks at all tokens that it was given.
    Verify,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => (1..3 * DAY).prop_map(Event::Pass),
        8 => (1_i64..900).prop_map(Event::Pass),
        2 => (-20_000_i64..20_000).prop_map(Event::SetClock),
        1 => (60..2 * DAY).prop_map(Event::Away),
        20 => any::<prop::sample::Index>().prop_map(Event::Sign),
        2 => Just(Event::RotateGracefully),
        1 => Just(Event::RotateInEmergency),
        1 => Just(Event::RevokeActive),
        20 => Just(Event::Verify),
    ];
    prop::collection::vec(event, 50..200)
}

#[derive(Clone, Debug)]
struct Token {
    key: u32,
    expires_at: Timestamp,
}

/// The server's rows, and the world around.
struct World {
    /// In the order of `activates_at`, as the store gives them.
    keys: Vec<(u32, KeyDates)>,
    made: u32,
    policy: RotationPolicy,
    token_life: i64,
    /// What the server's clock shows, milliseconds, and how far that is from the truth.
    now: i64,
    offset: i64,
    tokens: Vec<Token>,
    /// What the verifier holds, and when it fetched it, by a clock that nobody sets.
    fetched: (i64, Vec<u32>),
    elapsed: i64,
    revoked: BTreeMap<u32, i64>,
    /// Keys that the server made sign in an emergency, unannounced.
    unannounced: BTreeMap<u32, i64>,
}

impl World {
    fn new(period: i64, max_age: i64, token_life: i64) -> Self {
        let mut world = Self {
            keys: Vec::new(),
            made: 0,
            policy: RotationPolicy::new(period, token_life, Span::seconds(max_age)),
            token_life,
            now: 1_740_427_049_000,
            offset: 0,
            tokens: Vec::new(),
            fetched: (i64::MIN / 2, Vec::new()),
            elapsed: 0,
            revoked: BTreeMap::new(),
            unannounced: BTreeMap::new(),
        };
        world.publish(world.now());
        world
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn dates(&self) -> Vec<KeyDates> {
        self.keys.iter().map(|(_, dates)| *dates).collect()
    }

    fn states(&self) -> Vec<State> {
        states(&self.dates(), self.now())
    }

    fn active(&self) -> usize {
        active(&self.dates(), self.now()).unwrap()
    }

    fn publish(&mut self, activates_at: Timestamp) {
        let dates = KeyDates {
            created_at: self.now(),
            activates_at: place(&self.dates(), activates_at),
            revoked_at: None,
            token_life: Span::seconds(self.token_life),
        };
        if activates_at <= self.now() {
            self.unannounced.insert(self.made, self.elapsed);
        }
        self.keys.push((self.made, dates));
        self.keys
            .sort_by_key(|(id, dates)| (dates.activates_at, *id));
        self.made += 1;
    }

    /// What the job does at each of its runs.
    fn run_job(&mut self) {
        while let Step::Publish { activates_at } = next_step(&self.dates(), self.policy, self.now())
        {
            self.publish(activates_at);
        }
        for index in over(&self.states(), self.now()).into_iter().rev() {
            self.keys.remove(index);
        }
    }

    /// Time goes by; the job runs each time that it asked for.
    fn pass(&mut self, seconds: i64) {
        let end = self.now + seconds * 1000;
        loop {
            self.run_job();
            let Step::Wait(until) = next_step(&self.dates(), self.policy, self.now()) else {
                panic!("the job leaves nothing to be published");
            };
            let next = until
                .as_millis()
                .clamp(self.now + 1000, end.max(self.now + 1000));
            if next >= end {
                break;
            }
            self.elapse(next - self.now);
        }
        self.elapse(end - self.now);
        self.run_job();
    }

    fn elapse(&mut self, millis: i64) {
        self.now += millis;
        self.elapsed += millis;
    }

    /// Sets the clock to so much before or after the true time; off by less than the tolerance in all.
    fn set_clock(&mut self, offset: i64) {
        let most = self.policy.jwks_max_age.as_seconds_ceil() * 500;
        let offset = offset.clamp(-most, most);
        self.now += offset - self.offset;
        self.offset = offset;
    }

    fn revoke(&mut self, index: usize) {
        let now = self.now();
        let (id, dates) = &mut self.keys[index];
        if dates.revoked_at.is_none() {
            dates.revoked_at = Some(now);
            self.revoked.insert(*id, self.elapsed);
        }
    }

    /// The next key signs at once, published or not.
    fn revoke_active(&mut self) {
        let next = self
            .states()
            .iter()
            .position(|state| *state == State::Published);
        self.revoke(self.active());
        let Some(next) = next else {
            self.publish(self.now());
            return;
        };
        let at = hurry(&self.dates(), next, self.now());
        let (id, dates) = &mut self.keys[next];
        dates.activates_at = at;
        self.unannounced.insert(*id, self.elapsed);
        self.keys
            .sort_by_key(|(id, dates)| (dates.activates_at, *id));
    }

    fn sign(&mut self, life: i64) {
        let index = self.active();
        let (id, dates) = self.keys[index];
        let announced = self.now() >= dates.created_at + self.policy.lead();
        // Only in an emergency does a key sign that verifiers cannot have fetched.
        assert!(
            announced || self.unannounced.contains_key(&id),
            "key {id} signs unannounced"
        );
        self.tokens.push(Token {
            key: id,
            expires_at: self.now() + Span::seconds(life),
        });
    }

    fn verify(&mut self) {
        let max_age = self.policy.jwks_max_age.as_seconds_ceil() * 1000;
        if self.elapsed - self.fetched.0 >= max_age {
            let states = self.states();
            let published = self.keys.iter().zip(&states);
            let ids = published
                .filter(|(_, state)| state.verifies())
                .map(|((id, _), _)| *id);
            self.fetched = (self.elapsed, ids.collect());
        }
        let now = self.now();
        self.tokens.retain(|token| now < token.expires_at);
        for token in &self.tokens {
            let known = self.fetched.1.contains(&token.key);
            if let Some(&at) = self.revoked.get(&token.key) {
                assert!(
                    !known || self.elapsed < at + max_age,
                    "a revoked key outlives the bound"
                );
            } else {
                // A verifier that could not have been told yet fetches again at an unknown kid.
                let told = match self.unannounced.get(&token.key) {
                    Some(&at) => self.fetched.0 >= at,
                    None => true,
                };
                assert!(known || !told, "an honest token of key {} fails", token.key);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_year_without_a_failed_verification(
        period in prop_oneof![60_i64..3600, DAY..90 * DAY],
        max_age in 1_i64..3600,
        token_life in prop_oneof![60_i64..7200, DAY..30 * DAY],
        events in events(),
    ) {
        let mut world = World::new(period, max_age, token_life);
        for event in events {
            if world.elapsed > YEAR * 1000 {
                break;
            }
            // No two things happen at once.
            world.elapse(1);
            match event {
                // A period of minutes over days is rotations without number: hours will do.
                Event::Pass(seconds) => world.pass(seconds.min(period * 20)),
                Event::SetClock(offset) => world.set_clock(offset),
                Event::Away(seconds) => world.elapse(seconds * 1000),
                Event::Sign(part) => {
                    let life = i64::try_from(part.index(usize::try_from(token_life).unwrap())).unwrap();
                    world.sign(life + 1);
                }
                Event::RotateGracefully => {
                    if !world.states().contains(&State::Published) {
                        world.publish(world.now() + world.policy.lead());
                    }
                }
                Event::RotateInEmergency => {
                    for index in 0..world.keys.len() {
                        world.revoke(index);
                    }
                    world.publish(world.now());
                }
                Event::RevokeActive => world.revoke_active(),
                Event::Verify => world.verify(),
            }
            let states = world.states();
            let active = states.iter().filter(|state| **state == State::Active).count();
            prop_assert_eq!(active, 1, "{:?}", states);
        }
        // No key is kept for ever: those of the schedule, those that were rotated by hand, and the next.
        prop_assert!(world.keys.len() < 100 + 200 + 5);
    }
}
