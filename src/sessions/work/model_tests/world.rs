//! The world of the model: a store, what its nodes work on, and what callers were told.

use entity::{
    Timestamp, TokenId,
    session::{self, Revocation, TokenMac},
    time::Span,
};

use crate::sessions::{renewal::Renewal, samples};

/// A token of the session, in the order in which they were made. The first one was issued when the session began.
pub type Token = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub now: u8,
    pub store: Store,
    pub requests: Vec<Request>,
    /// How many tokens there are.
    pub tokens: Token,
    pub left: Left,
    pub seen: Seen,
}

/// What may still happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    pub flushes: u8,
    pub changes: u8,
    pub logouts: u8,
    pub faults: u8,
    pub ticks: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    pub row: Row,
    pub epoch: u8,
    pub flush_count: u8,
    /// A commit that nobody waits for any more, and the row that it leaves; it holds the row's lock.
    pub late: Option<Row>,
    /// Every token that was the session's current one, in their order.
    pub chain: Vec<Token>,
}

/// What differs from row to row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub token: Token,
    pub parent: Option<(Token, u8)>,
    pub revoked_for: Option<Reason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    Logout,
    Reuse,
}

/// A renewal that a caller sent to a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    pub presented: Token,
    /// What had been answered before it was sent: so many flushes, so many logouts.
    pub after: (u8, u8),
    pub stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    AtNode(Prepared),
    Answered,
}

/// What a node knows of a request that it works on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prepared {
    pub next: Token,
    pub now: u8,
    pub epoch: u8,
    pub flush_count: u8,
    pub in_doubt: Vec<Token>,
    pub is_verified: bool,
    pub attempts: u8,
}

/// What was told to callers, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The successors that were answered, by the token that was presented.
    pub successors: Vec<(Token, Token)>,
    pub flushes: u8,
    pub logouts: u8,
    /// Whether a presentation was found to be a reuse.
    pub reuse: bool,
    /// Whether a commit without an answer was found in the row.
    pub settled: bool,
    pub wrong: Option<&'static str>,
}

const BASE: i64 = 1_740_427_049;
const TICK: i64 = 1;

fn id(token: Token) -> TokenId {
    format!("01JMWRJEJ71191KP88NDGWV{token:03}")
        .parse()
        .unwrap()
}

fn mac(token: Token) -> TokenMac {
    TokenMac::new([token; 16])
}

fn at(tick: u8) -> Timestamp {
    Timestamp::from_seconds(BASE + i64::from(tick) * TICK)
}

impl Row {
    /// The whole of the row that this stands for.
    pub fn expand(&self) -> session::Model {
        let row = self;
        session::Model {
            parent_id: row.parent.map(|(token, _)| id(token)),
            parent_until: row.parent.map(|(_, until)| at(until)),
            auth_expires_at: at(0) + Span::seconds(3600),
            expires_at: at(0) + Span::seconds(7200),
            refresh_mac: Some(mac(row.token)),
            revoked_at: row.revoked_for.map(|_| at(0)),
            revoked_for: row.revoked_for.map(|reason| match reason {
                Reason::Logout => Revocation::Logout,
                Reason::Reuse => Revocation::Reuse,
            }),
            ..samples::session(id(row.token), at(0))
        }
    }
}

impl World {
    pub fn token_of(&self, wanted: TokenId) -> Token {
        (0..self.tokens).find(|&token| id(token) == wanted).unwrap()
    }

    /// What of the row differs from others.
    pub fn shrink(&self, row: &session::Model) -> Row {
        let tick = |time: Timestamp| u8::try_from((time.as_seconds() - BASE) / TICK).unwrap();
        Row {
            token: self.token_of(row.token_id),
            parent: row
                .parent_id
                .zip(row.parent_until)
                .map(|(parent, until)| (self.token_of(parent), tick(until))),
            revoked_for: row.revoked_for.map(|reason| match reason {
                Revocation::Logout => Reason::Logout,
                Revocation::Reuse => Reason::Reuse,
                other => panic!("nothing here revokes for {other:?}"),
            }),
        }
    }

    pub fn mint(&mut self) -> Token {
        self.tokens += 1;
        self.tokens - 1
    }

    /// What a node knows when it begins, or begins anew.
    pub fn prepare(&mut self, attempts: u8) -> Prepared {
        Prepared {
            next: self.mint(),
            now: self.now,
            epoch: self.store.epoch,
            flush_count: self.store.flush_count,
            in_doubt: Vec::new(),
            is_verified: false,
            attempts,
        }
    }

    /// The next state of the store, if nobody holds the row.
    pub fn write(&mut self, row: Row) {
        if row.token != self.store.row.token {
            self.store.chain.push(row.token);
        }
        self.store.row = row;
    }

    pub fn wrong(&mut self, what: &'static str) {
        self.seen.wrong.get_or_insert(what);
    }

    /// A caller is told that `successor` follows what it presented.
    pub fn renewed(&mut self, index: usize, successor: Token) {
        let Request {
            presented, after, ..
        } = self.requests[index];
        let others = |&(token, other): &(Token, Token)| token == presented && other != successor;
        if self.seen.successors.iter().any(others) {
            self.wrong("two successors of one token");
        }
        if !self.store.chain.contains(&successor) {
            self.wrong("answered before it was committed");
        }
        // Whatever ended the session was answered before this was sent.
        if after != (0, 0) {
            self.wrong("renewed after its end was answered");
        }
        if !self.seen.successors.contains(&(presented, successor)) {
            self.seen.successors.push((presented, successor));
        }
    }

    pub fn used(&mut self, index: usize) {
        self.seen.reuse = true;
        let presented = self.requests[index].presented;
        let times = self
            .requests
            .iter()
            .filter(|one| one.presented == presented);
        // Nobody else can have used it.
        if times.count() == 1 {
            self.wrong("an honest caller is taken for a thief");
        }
    }

    pub fn revoked(&mut self) {
        let ended = self.store.flush_count > 0 || self.store.row.revoked_for.is_some();
        if !ended {
            self.wrong("a live session is said to be revoked");
        }
    }
}

/// A renewal as the product prepares it.
pub fn renewal(presented: Token, prepared: &Prepared, grace: u8) -> Renewal {
    Renewal {
        epoch: i64::from(prepared.epoch),
        not_before: at(0),
        expires_at: at(0) + Span::seconds(7200),
        mac: mac(presented),
        is_verified: prepared.is_verified,
        grace: Span::seconds(i64::from(grace) * TICK),
        flush_count: i64::from(prepared.flush_count),
        next_mac: mac(prepared.next),
        in_doubt: prepared.in_doubt.iter().map(|&token| id(token)).collect(),
        ..samples::renewal(id(presented), id(prepared.next), at(prepared.now))
    }
}
