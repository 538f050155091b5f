//! Every interleaving of a few requests, nodes, commits and changes of the app, on one session: a model whose decisions are
//! made by the product's own code. What the store, the network and the callers may do is modelled; what a node makes of it is not.
//!
//! A commit may be answered, be made or undone without an answer, or be made long after its node gave it up. Meanwhile it holds
//! the row: whoever wants to write it waits, and is told that there was no time for it.

mod world;

use entity::TokenId;
use stateright::{Checker, Model, Property};

use self::world::{Left, Reason, Request, Row, Seen, Stage, Store, Token, World};
use super::renew;
use crate::{error::Refusal, sessions::renewal::Outcome};

/// What may happen at most.
#[derive(Clone, Debug)]
struct Bounds {
    requests: usize,
    /// Times that a node asks the store for one request.
    attempts: u8,
    flushes: u8,
    /// Other changes of the app, such as a key.
    changes: u8,
    logouts: u8,
    /// Commits without an answer.
    faults: u8,
    ticks: u8,
    /// For how many ticks a parent may come again.
    grace: u8,
    /// Breaks the product on purpose.
    forgets_doubt: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// A caller presents a token that it was given: the current one, or one that it was given before.
    Send(Token),
    /// The node that works on the request asks the store.
    Ask(usize, Fate),
    /// It has no time left.
    GiveUp(usize),
    /// A commit that nobody waits for is made after all, or undone.
    Late(bool),
    Flush,
    Change,
    Logout,
    Tick,
}

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    MadeUnanswered,
    UndoneUnanswered,
    Late,
}

impl Bounds {
    /// The node asks the store once, and its commit has this fate.
    fn ask(&self, world: &mut World, index: usize, fate: Fate) -> Option<()> {
        let request = world.requests[index].clone();
        let Stage::AtNode(mut prepared) = request.stage else {
            return None;
        };
        prepared.attempts = prepared.attempts.checked_sub(1)?;
        let mut renewal = world::renewal(request.presented, &prepared, self.grace);
        let mut row = world.store.row.expand();
        let outcome = renew(Some(&mut row), &renewal, Some(i64::from(world.store.epoch)));
        let row = world.shrink(&row);
        let writes = row != world.store.row;
        // Who writes nothing has nothing to commit.
        if !writes && fate != Fate::Answered {
            return None;
        }
        if writes && world.store.late.is_some() {
            // It waits for the row, in vain.
            (fate == Fate::Answered).then_some(())?;
            world.requests[index].stage = Stage::AtNode(prepared);
            return Some(());
        }
        if fate != Fate::Answered {
            world.left.faults = world.left.faults.checked_sub(1)?;
            match fate {
                Fate::MadeUnanswered => world.write(row),
                Fate::Late => world.store.late = Some(row),
                Fate::Answered | Fate::UndoneUnanswered => {}
            }
            // As the write path notes it.
            if outcome.follows(renewal.next) {
                renewal.doubt();
                prepared.in_doubt = self.doubts(world, &renewal.in_doubt);
            }
            world.requests[index].stage = Stage::AtNode(prepared);
            return Some(());
        }
        world.write(row);
        let stage = match outcome {
            Outcome::Renewed(session) => {
                let successor = world.token_of(session.token_id);
                world.seen.settled |= prepared.in_doubt.contains(&successor);
                world.renewed(index, successor);
                Stage::Answered
            }
            Outcome::Reused | Outcome::Refused(Refusal::Used) => {
                world.used(index);
                Stage::Answered
            }
            Outcome::Refused(Refusal::Revoked) => {
                world.revoked();
                Stage::Answered
            }
            Outcome::Refused(other) => panic!("nothing here is {other}"),
            Outcome::Unconfirmed => Stage::Answered,
            Outcome::Unrecognised => {
                prepared.is_verified = true;
                Stage::AtNode(prepared)
            }
            Outcome::Stale { in_doubt } => {
                let mut anew = world.prepare(prepared.attempts);
                if !self.forgets_doubt {
                    anew.in_doubt = self.doubts(world, &in_doubt);
                }
                Stage::AtNode(anew)
            }
        };
        world.requests[index].stage = stage;
        Some(())
    }

    fn doubts(&self, world: &World, in_doubt: &[TokenId]) -> Vec<Token> {
        in_doubt.iter().map(|&id| world.token_of(id)).collect()
    }
}

impl Model for Bounds {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            now: 0,
            store: Store {
                row: Row {
                    token: 0,
                    parent: None,
                    revoked_for: None,
                },
                epoch: 0,
                flush_count: 0,
                late: None,
                chain: vec![0],
            },
            requests: Vec::new(),
            tokens: 1,
            left: Left {
                flushes: self.flushes,
                changes: self.changes,
                logouts: self.logouts,
                faults: self.faults,
                ticks: self.ticks,
            },
            seen: Seen::default(),
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.requests.len() < self.requests {
            let given = world.seen.successors.iter().map(|&(_, token)| token);
            let mut tokens: Vec<_> = given.chain([0]).collect();
            tokens.sort_unstable();
            tokens.dedup();
            actions.extend(tokens.into_iter().map(Action::Send));
        }
        for (index, request) in world.requests.iter().enumerate() {
            let Stage::AtNode(prepared) = &request.stage else {
                continue;
            };
            if prepared.attempts == 0 {
                actions.push(Action::GiveUp(index));
                continue;
            }
            let fates = [
                Fate::Answered,
                Fate::MadeUnanswered,
                Fate::UndoneUnanswered,
                Fate::Late,
            ];
            let fates = fates
                .into_iter()
                .take(if world.left.faults > 0 { 4 } else { 1 });
            actions.extend(fates.map(|fate| Action::Ask(index, fate)));
        }
        if world.store.late.is_some() {
            actions.extend([Action::Late(true), Action::Late(false)]);
        }
        for (left, action) in [
            (world.left.flushes, Action::Flush),
            (world.left.changes, Action::Change),
            (world.left.logouts, Action::Logout),
            (world.left.ticks, Action::Tick),
        ] {
            if left > 0 {
                actions.push(action);
            }
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Send(presented) => {
                let prepared = world.prepare(self.attempts);
                world.requests.push(Request {
                    presented,
                    after: (world.seen.flushes, world.seen.logouts),
                    stage: Stage::AtNode(prepared),
                });
            }
            Action::Ask(index, fate) => self.ask(&mut world, index, fate)?,
            Action::GiveUp(index) => world.requests[index].stage = Stage::Answered,
            Action::Late(is_made) => {
                let row = world.store.late.take()?;
                if is_made {
                    world.write(row);
                }
            }
            Action::Flush => {
                world.left.flushes -= 1;
                world.store.flush_count += 1;
                world.store.epoch += 1;
                world.seen.flushes += 1;
            }
            Action::Change => {
                world.left.changes -= 1;
                world.store.epoch += 1;
            }
            Action::Logout => {
                // It waits for whoever holds the row.
                if world.store.late.is_some() {
                    return None;
                }
                world.left.logouts -= 1;
                let row = &mut world.store.row;
                row.revoked_for = row.revoked_for.or(Some(Reason::Logout));
                world.seen.logouts += 1;
            }
            Action::Tick => {
                world.left.ticks -= 1;
                world.now += 1;
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("every promise is kept", |_, world: &World| {
                world.seen.wrong.is_none()
            }),
            // The model reaches what it is about.
            Property::sometimes("a doubt that the row settles", |_, world: &World| {
                world.seen.settled
            }),
            Property::sometimes("a reuse", |_, world: &World| world.seen.reuse),
        ]
    }
}

/// A few requests, each of which meets much trouble.
fn deep(grace: u8) -> Bounds {
    Bounds {
        requests: 2,
        attempts: 5,
        flushes: 0,
        changes: 1,
        logouts: 1,
        faults: 2,
        ticks: grace,
        grace,
        forgets_doubt: false,
    }
}

/// More requests, each of which meets less.
fn wide(grace: u8) -> Bounds {
    Bounds {
        requests: 3,
        attempts: 3,
        flushes: 1,
        changes: 0,
        faults: 1,
        ..deep(grace)
    }
}

fn check(bounds: Bounds) -> impl Checker<Bounds> {
    bounds.checker().threads(2).spawn_bfs().join()
}

#[test]
fn no_interleaving_breaks_a_promise() {
    for bounds in [deep(0), deep(1), wide(0), wide(1)] {
        let checked = check(bounds);
        // As many as make the check worth something.
        assert!(checked.unique_state_count() > 10_000);
        checked.assert_properties();
    }
}

/// A renewal whose commit was not answered, and comes late, is prepared anew meanwhile, because its app was changed: if it
/// forgot that doubt, it would take its own successor for a reuse.
#[test]
fn a_doubt_that_is_forgotten_is_found() {
    let broken = Bounds {
        forgets_doubt: true,
        requests: 1,
        logouts: 0,
        ..deep(0)
    };
    let path = check(broken).discovery("every promise is kept").unwrap();
    let wrong = path.last_state().seen.wrong;
    assert_eq!(wrong, Some("an honest caller is taken for a thief"));
}
