//! What the clients do.

mod crowd;
mod flusher;
mod keykeeper;
mod leaver;
mod owner;
mod racer;
mod revoker;
mod runners;
mod sensor;
mod shifter;
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
    client::{App, Client, Policy, Token},
    history::{Answer, Grace, Role},
};

/// Of so many clients one is a racer, and one a leaver; most others walk.
const SHARE: usize = 8;
/// The clients that do something of their own: one of each kind.
const SPECIAL: usize = 7;
/// The grace of the app that has one, seconds.
const GRACE: u64 = 10;
/// The graces of the app whose policy is changed, seconds.
const GRACES: [u64; 2] = [GRACE, 2 * GRACE];
/// Sessions of a subject where there is a limit.
const LIMIT: u64 = 3;
/// For how long a lost answer is asked for again: within the grace, with room for the last attempt.
const WITHIN_GRACE: Duration = Duration::from_secs(8);
/// The same, where a retry is a gamble at any time.
const WITHOUT_GRACE: Duration = Duration::from_secs(30);
/// Requests at once when all is quiet.
const AT_ONCE: usize = 16;
/// A change of apps is known everywhere after a second.
const KNOWN_EVERYWHERE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Load {
    pub client: Client,
    apps: Apps,
    stopping: AtomicBool,
    calm: AtomicBool,
}

#[derive(Debug)]
struct Apps {
    /// Without a grace.
    strict: App,
    /// With one.
    lenient: App,
    /// Nobody changes it.
    quiet: App,
    /// Whose signing keys are revoked.
    keyed: App,
    /// Whose sessions are all ended, again and again.
    flushed: App,
    /// Whose app-keys are replaced and revoked.
    rekeyed: App,
    /// Whose policy is changed.
    shifting: App,
    /// Whose users have at most [`LIMIT`] sessions.
    limited: App,
    /// Whose sessions are on devices.
    owned: App,
    /// Whose devices have registration tokens.
    sensed: App,
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
    /// No answer in time, or another token has followed this one.
    Abandoned,
}

/// Attempts at something, the first one of which was made then.
struct Tries(Option<Instant>);

/// One client: its dice, and which node is next.
struct Hand {
    rng: ChaCha8Rng,
    node: usize,
    nodes: usize,
}

impl Load {
    /// Makes the apps; `None` when that does not work.
    pub async fn prepare(client: Client) -> Option<Self> {
        let policy = |name| Policy {
            name,
            ..Policy::default()
        };
        let changed = |name| Policy {
            is_changed: true,
            ..policy(name)
        };
        let with_grace = |policy| Policy {
            grace: GRACE,
            ..policy
        };
        let create = |policy| client.create_app(policy);
        let shifting = create(with_grace(changed("shifting"))).await?;
        let seconds = |seconds| Grace::of(seconds).least;
        let apps = Apps {
            strict: create(policy("strict")).await?,
            lenient: create(with_grace(policy("lenient"))).await?,
            quiet: create(policy("quiet")).await?,
            keyed: create(changed("keyed")).await?,
            flushed: create(changed("flushed")).await?,
            rekeyed: create(with_grace(changed("rekeyed"))).await?,
            shifting: App {
                grace: Grace {
                    least: seconds(GRACES[0]),
                    most: seconds(GRACES[1]),
                },
                ..shifting
            },
            limited: create(Policy {
                limit: Some(LIMIT),
                ..policy("limited")
            })
            .await?,
            owned: create(with_grace(policy("owned"))).await?,
            sensed: create(Policy {
                registration_grace: 60,
                ..with_grace(policy("sensed"))
            })
            .await?,
        };
        sleep(KNOWN_EVERYWHERE).await;
        Some(Self {
            client,
            apps,
            stopping: AtomicBool::new(false),
            calm: AtomicBool::new(false),
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
                &self.apps.strict
            } else {
                &self.apps.lenient
            };
            let app = app.clone();
            match index {
                0 => tasks.spawn(revoker::run(load, hand)),
                1 => tasks.spawn(flusher::run(load, hand)),
                2 => tasks.spawn(keykeeper::run(load, hand)),
                3 => tasks.spawn(shifter::run(load, hand)),
                4 => tasks.spawn(crowd::run(load, hand)),
                5 => tasks.spawn(owner::run(load, hand)),
                6 => tasks.spawn(sensor::run(load, hand)),
                _ if (index - SPECIAL) % SHARE == 1 => tasks.spawn(racer::run(load, app, hand)),
                _ if (index - SPECIAL) % SHARE == 2 => tasks.spawn(leaver::run(load, app, hand)),
                _ => tasks.spawn(walker::run(load, app, hand)),
            };
        }
        tasks
    }

    /// Nothing is broken any more, but one app is changed fifty times a second.
    pub fn calm_down(&self) {
        self.calm.store(true, Relaxed);
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Relaxed)
    }

    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Renews every session that is held once more, and looks how far it has come.
    pub async fn renew_all(self: &Arc<Self>, held: Vec<Held>) {
        let sessions = held.iter().map(|held| held.token.session).collect();
        self.client.history.write(|history| history.held = sessions);
        let mut tasks = JoinSet::new();
        for (index, Held { app, token }) in held.into_iter().enumerate() {
            while tasks.len() >= AT_ONCE {
                tasks.join_next().await;
            }
            let load = self.clone();
            let node = index % self.client.nodes();
            tasks.spawn(async move {
                if let (_, Some(next)) = load.client.renew(node, &app, &token).await {
                    load.client.read(node, &app, &next).await;
                }
            });
        }
        tasks.join_all().await;
    }

    /// Looks at every session of which a client was not told what became of it.
    pub async fn look_at_lost(self: &Arc<Self>) {
        let lost = self.client.history.write(|history| history.lost());
        let mut tasks = JoinSet::new();
        for (index, one) in lost.into_iter().enumerate() {
            while tasks.len() >= AT_ONCE {
                tasks.join_next().await;
            }
            let (load, node) = (self.clone(), index % self.client.nodes());
            tasks.spawn(async move {
                let app = load.apps.all()[one.app];
                let (session, sid) = (one.session, one.sid);
                load.client.read_of(node, app, session, sid, &one.sub).await
            });
        }
        tasks.join_all().await;
    }

    /// Notes the signing keys of every app, and verifies the signatures that were put aside.
    pub async fn verify_samples(&self) {
        self.client.verify_samples(&self.apps.all()).await;
    }

    /// Whether the node begins a session now, and renews it.
    pub async fn is_served(&self, node: usize) -> bool {
        let (client, app) = (&self.client, &self.apps.strict);
        let signed = client.sign(node, app, Role::Walker, "probe", None).await;
        let Some(token) = signed else {
            return false;
        };
        matches!(client.renew(node, app, &token).await, (Answer::Won(_), _))
    }

    async fn sign(&self, app: &App, role: Role, hand: &mut Hand) -> Option<Token> {
        let sub = format!("{role:?}-{:016x}", hand.rng.random::<u64>());
        let token = self.client.sign(hand.next(), app, role, &sub, None).await;
        if token.is_none() {
            hand.pause(20..200).await;
        }
        token
    }

    /// Presents the token at one node after another until there is an answer, or it is too late for one.
    async fn settle(&self, app: &App, token: &Token, hand: &mut Hand) -> Settled {
        let mut begun = None;
        let patience = if app.grace.is_none() {
            WITHOUT_GRACE
        } else {
            WITHIN_GRACE
        };
        loop {
            let sent = Instant::now();
            match self.client.renew(hand.next(), app, token).await {
                (_, Some(next)) => {
                    // How often it was renewed tells whether the lost one has renewed it, too.
                    if begun.is_some() {
                        self.look(app, &next, hand).await;
                    }
                    return Settled::Renewed(next);
                }
                (Answer::Refused(_) | Answer::Undocumented(_), _) => return Settled::Refused,
                // Its app-key was replaced: the present one is taken the next time.
                (Answer::Unsent | Answer::Forbidden, _) => {}
                _ => {
                    begun = begun.or(Some(sent));
                    // Half of those whose retry is a gamble look first.
                    if app.grace.is_none()
                        && hand.rng.random()
                        && self.is_overtaken(app, token, hand).await
                    {
                        return Settled::Abandoned;
                    }
                }
            }
            if begun.is_some_and(|begun| begun.elapsed() > patience) {
                self.look(app, token, hand).await;
                return Settled::Abandoned;
            }
            hand.pause(10..150).await;
        }
    }

    /// Whether something has followed the token, as far as is told.
    async fn is_overtaken(&self, app: &App, token: &Token, hand: &mut Hand) -> bool {
        let read = self.client.read(hand.next(), app, token).await;
        let seen = read.and_then(|read| read.seen);
        seen.is_some_and(|seen| seen.jid != token.issued.jid)
    }

    /// Looks how far the session has come, at another node if one does not tell.
    async fn look(&self, app: &App, token: &Token, hand: &mut Hand) {
        for _ in 0..hand.nodes {
            if self.client.read(hand.next(), app, token).await.is_some() {
                return;
            }
        }
    }
}

impl Apps {
    /// In the order in which they were made: that of their places in the history.
    fn all(&self) -> [&App; 10] {
        let mut all = [
            &self.strict,
            &self.lenient,
            &self.quiet,
            &self.keyed,
            &self.flushed,
            &self.rekeyed,
            &self.shifting,
            &self.limited,
            &self.owned,
            &self.sensed,
        ];
        all.sort_by_key(|app| app.index);
        all
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

    /// For a task beside this one.
    fn fork(&mut self) -> Self {
        Self {
            rng: ChaCha8Rng::from_rng(&mut self.rng),
            ..*self
        }
    }
}

impl Tries {
    /// Time enough for as long as a lost answer may be asked for.
    fn new() -> Self {
        Self(None)
    }

    /// The node to try next, after a pause; `None` when it is too late.
    async fn next(&mut self, hand: &mut Hand) -> Option<usize> {
        match self.0 {
            None => self.0 = Some(Instant::now()),
            Some(begun) if begun.elapsed() >= WITHIN_GRACE => return None,
            Some(_) => hand.pause(20..200).await,
        }
        Some(hand.next())
    }
}
