//! What is broken, and when.

use std::{io, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::{
    engine::{Database, Engine},
    history::{Recorder, Trouble},
    node::Node,
    proxy::Proxy,
};

/// Everything that can be broken.
#[derive(Debug)]
pub struct Cluster<'a> {
    pub engine: Engine,
    pub database: &'a Database,
    pub nodes: Vec<Node>,
    /// One a node; none before the embedded store.
    pub proxies: Vec<Proxy>,
    pub history: Arc<Recorder>,
}

impl Cluster<'_> {
    /// Breaks things until `end`, and undoes all of it.
    ///
    /// # Errors
    /// When what was broken does not come back.
    pub async fn trouble(&self, seed: u64, end: Instant) -> io::Result<()> {
        let rng = |stream| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream);
            rng
        };
        let cuts = async {
            // Dropped between two cuts or within one: what is left of it is undone.
            let _ = timeout_at(end, self.cut(rng(1))).await;
            for proxy in &self.proxies {
                proxy.heal();
            }
            Ok(())
        };
        tokio::try_join!(
            self.kill_nodes(rng(2), end),
            self.break_database(rng(3), end),
            self.hold_back(rng(4), end),
            cuts
        )?;
        self.engine.start().await
    }

    /// More than five kills a minute, and an orderly restart among them now and then.
    async fn kill_nodes(&self, mut rng: ChaCha8Rng, end: Instant) -> io::Result<()> {
        for round in 1.. {
            if !pause(&mut rng, 3_000..8_000, end).await {
                break;
            }
            let node = &self.nodes[rng.random_range(0..self.nodes.len())];
            if round % 4 == 0 {
                self.history.trouble(Trouble::NodeRestarted, node.index);
                node.stop().await?;
            } else {
                self.history.trouble(Trouble::NodeKilled, node.index);
                node.kill().await?;
                sleep(Duration::from_millis(rng.random_range(0..1_500))).await;
            }
            node.start().await?;
        }
        Ok(())
    }

    /// One server at a time, and the next one only when it is back.
    async fn break_database(&self, mut rng: ChaCha8Rng, end: Instant) -> io::Result<()> {
        let servers = self.engine.servers().len();
        if servers == 0 {
            return Ok(());
        }
        let mut between = 3_000..6_000;
        for round in 0.. {
            if !pause(&mut rng, between, end).await {
                break;
            }
            let server = rng.random_range(0..servers);
            // A cluster is there for the loss of a node.
            if servers == 1 && round % 2 == 1 {
                self.history.trouble(Trouble::DatabaseRestarted, server);
            } else {
                self.history.trouble(Trouble::DatabaseKilled, server);
                self.engine.kill(server).await?;
                let down = if servers == 1 {
                    200..2_000
                } else {
                    2_000..6_000
                };
                sleep(Duration::from_millis(rng.random_range(down))).await;
            }
            self.engine.restart(server).await?;
            between = 8_000..16_000;
        }
        Ok(())
    }

    /// A server of a cluster is late: a node reads there what was before the answer that a client has from another node.
    async fn hold_back(&self, mut rng: ChaCha8Rng, end: Instant) -> io::Result<()> {
        let servers = self.engine.servers().len();
        while servers > 1 && pause(&mut rng, 200..1_200, end).await {
            let server = rng.random_range(0..servers);
            let window = Duration::from_millis(rng.random_range(20..250));
            // It may be down, which is no lag.
            if self.database.lag(server, window).await.is_ok() {
                self.history.trouble(Trouble::DatabaseLags, server);
            }
        }
        Ok(())
    }

    /// The connections between nodes and their database, every second or so.
    async fn cut(&self, mut rng: ChaCha8Rng) {
        if self.proxies.is_empty() {
            return;
        }
        loop {
            sleep(Duration::from_millis(rng.random_range(300..1_500))).await;
            let index = rng.random_range(0..self.proxies.len());
            let proxy = &self.proxies[index];
            let window = Duration::from_millis(rng.random_range(50..400));
            match rng.random_range(0..8) {
                0..2 => {
                    self.history.trouble(Trouble::Cut, index);
                    proxy.cut();
                }
                2..6 => {
                    self.history.trouble(Trouble::CommitAnswersLost, index);
                    proxy.lose_commits(window).await;
                }
                6 => {
                    self.history.trouble(Trouble::AnswersLost, index);
                    proxy.lose_answers(window).await;
                }
                _ => {
                    self.history.trouble(Trouble::ConnectionsRefused, index);
                    proxy.cut();
                    proxy.refuse(window * 3).await;
                }
            }
        }
    }
}

/// Whether there is time left after a random pause.
async fn pause(rng: &mut ChaCha8Rng, millis: std::ops::Range<u64>, end: Instant) -> bool {
    let until = Instant::now() + Duration::from_millis(rng.random_range(millis));
    sleep_until(until.min(end)).await;
    until < end
}
