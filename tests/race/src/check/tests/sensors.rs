//! Registration tokens.

use super::{
    super::*,
    told::{Told, issued, span, strict},
};
use crate::history::{
    Claims, Exchange, Grace, Issued, Loss, Refreshing, Role, Sensor, SensorAnswer, Session,
};

/// A lineage of registration tokens, the first of which is 0.
struct Sensed(Told);

impl Sensed {
    fn new() -> Self {
        Self(strict().with(|history| history.sensors.push(Sensor::default())))
    }

    fn refresh(self, token: usize, begin: u64, end: u64, answer: SensorAnswer) -> Self {
        Self(self.0.with(|history| {
            history.refreshings.push(Refreshing {
                sensor: 0,
                token,
                span: span(begin, end),
                answer,
            });
        }))
    }

    fn exchange(self, token: usize, begin: u64, began: Result<usize, SensorAnswer>) -> Self {
        Self(self.0.with(|history| {
            history.exchanges.push(Exchange {
                sensor: 0,
                token,
                span: span(begin, begin + 5),
                began,
            });
        }))
    }
}

#[test]
fn a_registration_token_has_one_good_child() {
    use SensorAnswer::{Advanced, Replaced, Unknown};
    const GONE: SensorAnswer = SensorAnswer::Gone(Loss::Invalid);
    let begun = || Sensed::new().refresh(0, 10, 20, Advanced(1));
    begun().exchange(1, 30, Ok(0)).0.is(&[]);
    begun()
        .refresh(0, 30, 40, Advanced(2))
        .0
        .is(&[Kind::DoubleWin]);
    let replaced = || begun().refresh(0, 30, 40, Replaced(2));
    replaced()
        .exchange(1, 50, Err(GONE))
        .exchange(2, 60, Ok(0))
        .0
        .is(&[]);
    replaced().exchange(1, 50, Ok(0)).0.is(&[Kind::TwoChildren]);
    // A race, of which the order is not known.
    let race = || begun().refresh(0, 11, 21, Replaced(2));
    race()
        .exchange(1, 50, Err(GONE))
        .exchange(2, 60, Ok(0))
        .0
        .is(&[]);
    race()
        .exchange(1, 50, Ok(0))
        .exchange(2, 60, Ok(0))
        .0
        .is(&[Kind::TwoChildren]);
    // What began later may have been first, and a node whose clock is ahead grants the parent no time.
    Sensed::new()
        .refresh(0, 10, 40, GONE)
        .refresh(0, 12, 20, Advanced(1))
        .0
        .is(&[]);
    // Nothing ended it.
    begun()
        .exchange(1, 30, Err(GONE))
        .0
        .is(&[Kind::LostRegistration]);
    begun()
        .refresh(0, 22, 25, Unknown)
        .exchange(1, 30, Err(GONE))
        .0
        .is(&[]);
}

#[test]
fn a_device_is_always_the_same_subject() {
    let told = |sub: &str| {
        let begun = Sensed::new().exchange(0, 30, Ok(0)).exchange(0, 40, Ok(1));
        begun.0.with(|history| {
            let claims = history.claim(Claims {
                sub: sub.to_owned(),
                ..Claims::default()
            });
            let first = Issued {
                claims,
                ..issued("Z", "K1")
            };
            history.sessions.push(Session {
                role: Role::Sensor,
                app: 0,
                grace: Grace::default(),
                asked: claims,
                first,
                span: span(40, 45),
            });
        })
    };
    told("user").is(&[]);
    told("admin").is(&[Kind::SubjectChanged]);
}
