//! A history of one session, told in milliseconds.

use super::super::*;
use crate::history::{
    Amendment, AppKey, Cause, Claims, Ended, Ending, Grace, Id, Issued, Presentation, Read,
    Refusal, Renewed, Revocation, Role, Session, Tenant,
};

pub struct Told(pub History);

pub const USED: Answer = Answer::Refused(Refusal::Used);
pub const REVOKED: Answer = Answer::Refused(Refusal::Revoked);
/// The wall clock at the start.
pub const START: i64 = 1_764_000_000;

pub fn id(name: &str) -> Id {
    Id::read(&format!("{name:0>26}")).unwrap()
}

pub fn issued(jid: &str, key: &str) -> Issued {
    Issued {
        jid: id(jid),
        key: id(key),
        sid: id("S"),
        iat: START,
        life: 3_600,
        claims: 0,
        agrees: true,
    }
}

pub fn span(begin: u64, end: u64) -> Span {
    Span {
        begin: begin * 1_000,
        end: end * 1_000,
    }
}

pub fn won(next: &str) -> Answer {
    Answer::Won(issued(next, "K1"))
}

pub fn done(acknowledged: bool) -> Outcome {
    if acknowledged {
        Outcome::Done
    } else {
        Outcome::Unknown
    }
}

pub fn strict() -> Told {
    Told::of(Role::Walker, 0)
}

pub fn lenient() -> Told {
    Told::of(Role::Walker, 10)
}

impl Told {
    /// A session that begins with the token A, signed by the key K1.
    pub fn of(role: Role, grace_seconds: u64) -> Self {
        Self(History {
            started_at: START,
            skew: 0,
            tenants: vec![Tenant::default()],
            claims: vec![Claims {
                sub: "user".to_owned(),
                ..Claims::default()
            }],
            keys: vec![AppKey::default()],
            sessions: vec![Session {
                role,
                app: 0,
                grace: Grace::of(grace_seconds),
                asked: 0,
                first: issued("A", "K1"),
                span: span(0, 1),
            }],
            ..History::default()
        })
    }

    pub fn renew(mut self, token: &str, begin: u64, end: u64, mut answer: Answer) -> Self {
        if let Answer::Won(next) = &mut answer
            && next.iat == START
        {
            next.iat += i64::try_from(begin / 1_000).unwrap();
        }
        self.0.presentations.push(Presentation {
            session: 0,
            jid: id(token),
            key: 0,
            node: 0,
            span: span(begin, end),
            answer,
        });
        self
    }

    pub fn end(mut self, of: Ended, cause: Cause, begin: u64, end: u64, outcome: Outcome) -> Self {
        self.0.endings.push(Ending {
            of,
            cause,
            is_sure: true,
            node: 0,
            span: span(begin, end),
            outcome,
        });
        self
    }

    pub fn logout(self, begin: u64, end: u64, acknowledged: bool) -> Self {
        let outcome = done(acknowledged);
        self.end(Ended::Session(0), Cause::Logout, begin, end, outcome)
    }

    pub fn revoke(mut self, key: &str, begin: u64, end: u64, acknowledged: bool) -> Self {
        self.0.revocations.push(Revocation {
            keys: vec![id(key)],
            span: span(begin, end),
            outcome: done(acknowledged),
        });
        self
    }

    /// The session as it is listed: its token, and how often it was renewed.
    pub fn read(mut self, begin: u64, end: u64, seen: Option<(&str, u64)>) -> Self {
        self.0.reads.push(Read {
            session: 0,
            span: span(begin, end),
            seen: seen.map(|(jid, renewals)| Renewed {
                jid: id(jid),
                renewals,
            }),
        });
        self
    }

    /// The claims are given the note.
    pub fn amend(mut self, note: &str, begin: u64, end: u64, outcome: Outcome) -> Self {
        let claims = Claims {
            note: note.to_owned(),
            ..self.0.claims[0].clone()
        };
        let claims = self.0.claim(claims);
        self.0.amendments.push(Amendment {
            session: 0,
            claims,
            span: span(begin, end),
            outcome,
        });
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut History)) -> Self {
        change(&mut self.0);
        self
    }

    #[track_caller]
    pub fn is(&self, expected: &[Kind]) {
        let found = check(&self.0);
        let kinds: Vec<_> = found.iter().map(|violation| violation.kind).collect();
        assert_eq!(kinds, expected, "{found:#?}");
    }

    /// How many of all presentations could be judged.
    #[track_caller]
    pub fn judged(&self, judged: u64, all: u64) {
        let found = judge(&self.0);
        assert_eq!((found.judged, found.all), (judged, all), "{found:?}");
        let not = found.lost + found.won + found.refused;
        assert_eq!(found.judged + not, found.all);
    }
}
