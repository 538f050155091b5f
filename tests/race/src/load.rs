//! What the clients do.

mod leaver;
mod racer;
mod revoker;
mod walker;

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    client::{App, Client, Token},
    history::{Answer, Role},
};

/// Of so many clients one is a racer, and one a leaver; the others walk.
const SHARE: usize = 8;
/// The grace of the app that has one, seconds.
const GRACE: u64 = 10;
/// For how long a lost answer is asked for again: within the grace, with room for the last attempt.
const WITHIN_GRACE: Duration = Duration::from_secs(8);
/// The same, where a retry is a gamble at any time.
const WITHOUT_GRACE: Duration = Duration::from_secs(30);
/// A change of apps is known everywhere after a second.
const KNOWN_EVERYWHERE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Load {
    pub client: Client,
    /// Without a grace.
    strict: App,
    /// With one.
    lenient: App,
    /// Whose signing keys are revoked.
    keyed: App,
    stopping: AtomicBool,
}

/// A session that is alive, as far as its client knows.
#[derive(Debug)]
pub struct Held {
    app: App,
    token: Token,
}

/// How it ended that a token was presented until there was an answer.
enum Settled {
    Renewed(Token),
    Refused,
    /// No answer in time.
    Abandoned,
}

/// One client: its dice, and which node is next.
struct Hand {
    rng: ChaCha8Rng,
    node: usize,
    nodes: usize,
}

impl Load {
    /// Makes the apps; `None` when that does not work.
    pub async fn prepare(client: Client) -> Option<Self> {
        let strict = client.create_app("strict", 0).await?;
        let lenient = client.create_app("lenient", GRACE).await?;
        let keyed = client.create_app("keyed", 0).await?;
        sleep(KNOWN_EVERYWHERE).await;
        Some(Self {
            client,
            strict,
            lenient,
            keyed,
            stopping: AtomicBool::new(false),
        })
    }

    /// Starts the clients, which go on until `stop`, and then give what sessions they have.
    pub fn start(self: &Arc<Self>, clients: usize, seed: u64) -> JoinSet<Vec<Held>> {
        let mut tasks = JoinSet::new();
        for index in 0..clients {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(1_000 + index as u64);
            let hand = Hand {
                rng,
                node: index,
                nodes: self.client.nodes(),
            };
            let load = self.clone();
            // Half of each kind.
            let app = if (index + index / SHARE).is_multiple_of(2) {
                &self.strict
            } else {
                &self.lenient
            };
            let app = app.clone();
            match index {
                0 => tasks.spawn(revoker::run(load, hand)),
                _ if index % SHARE == 1 => tasks.spawn(racer::run(load, app, hand)),
                _ if index % SHARE == 2 => tasks.spawn(leaver::run(load, app, hand)),
                _ => tasks.spawn(walker::run(load, app, hand)),
            };
        }
        tasks
    }

    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Renews every session that is held once more.
    pub async fn renew_all(self: &Arc<Self>, held: Vec<Held>) {
        const AT_ONCE: usize = 16;
        let sessions = held.iter().map(|held| held.token.session).collect();
        self.client.history.write(|history| history.held = sessions);
        let mut tasks = JoinSet::new();
        for (index, Held { app, token }) in held.into_iter().enumerate() {
            while tasks.len() >= AT_ONCE {
                tasks.join_next().await;
            }
            let load = self.clone();
            let node = index % self.client.nodes();
            tasks.spawn(async move { load.client.renew(node, &app, &token).await });
        }
        tasks.join_all().await;
    }

    async fn sign(&self, app: &App, role: Role, hand: &mut Hand) -> Option<Token> {
        let sub = format!("{role:?}-{:016x}", hand.rng.random::<u64>());
        let token = self.client.sign(hand.next(), app, role, &sub).await;
        if token.is_none() {
            hand.pause(20..200).await;
        }
        token
    }

    /// Presents the token at one node after another until there is an answer, or it is too late for one.
    async fn settle(&self, app: &App, token: &Token, hand: &mut Hand) -> Settled {
        let mut begun = None;
        let patience = match app.grace {
            0 => WITHOUT_GRACE,
            _ => WITHIN_GRACE,
        };
        loop {
            let sent = Instant::now();
            match self.client.renew(hand.next(), app, token).await {
                (_, Some(next)) => return Settled::Renewed(next),
                (Answer::Refused(_) | Answer::Undocumented(_), _) => return Settled::Refused,
                (Answer::Unsent, _) => {}
                _ => begun = begun.or(Some(sent)),
            }
            if begun.is_some_and(|begun| begun.elapsed() > patience) {
                return Settled::Abandoned;
            }
            hand.pause(10..150).await;
        }
    }
}

impl Hand {
    /// Another node each time.
    fn next(&mut self) -> usize {
        self.node = (self.node + 1) % self.nodes;
        self.node
    }

    async fn pause(&mut self, millis: Range<u64>) {
        sleep(Duration::from_millis(self.rng.random_range(millis))).await;
    }
}
