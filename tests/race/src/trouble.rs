//! What is broken, and when.

mod clocks;
mod databases;
mod disk;
mod network;
mod quiet;

use std::{io, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

pub use quiet::Quiet;

use crate::{
    engine::{Database, Engine},
    faults::Disk,
    history::{Recorder, Trouble},
    load::Load,
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
    pub quiet: Quiet,
    /// Under the embedded store.
    pub disk: Option<Disk>,
}

impl Cluster<'_> {
    /// Breaks things until `end`, and undoes all of it.
    ///
    /// # Errors
    /// When what was broken does not come back.
    pub async fn trouble(&self, seed: u64, end: Instant, load: &Load) -> io::Result<()> {
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
            self.silence(rng(5), end, load),
            self.jump(rng(6), end),
            self.break_disk(rng(7), end),
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
            let _turn = node.turn().await;
            let _disturbed = self.quiet.disturb();
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
}

/// Whether there is time left after a random pause.
async fn pause(rng: &mut ChaCha8Rng, millis: std::ops::Range<u64>, end: Instant) -> bool {
    let until = Instant::now() + Duration::from_millis(rng.random_range(millis));
    sleep_until(until.min(end)).await;
    until < end
}
