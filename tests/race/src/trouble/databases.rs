//! What becomes of the database servers.

use std::{io, ops::Range, time::Duration};

use rand::{RngExt, rngs::ChaCha8Rng};
use tokio::time::{Instant, sleep};

use super::{Cluster, pause};
use crate::{engine::Engine, history::Trouble};

/// Longer than the lock of a Patroni leader lives (ttl in scripts/engines.d/patroni): the rest promotes meanwhile.
const LONGER_THAN_THE_LOCK: Range<u64> = 11_000..15_000;

impl Cluster<'_> {
    /// One server at a time, and the next one only when all are back.
    pub(super) async fn break_database(&self, mut rng: ChaCha8Rng, end: Instant) -> io::Result<()> {
        if self.engine.servers().is_empty() {
            return Ok(());
        }
        let mut between = 3_000..6_000;
        let first = rng.random_range(0..4);
        for round in first.. {
            if !pause(&mut rng, between, end).await {
                break;
            }
            let _disturbed = self.quiet.disturb();
            match self.engine {
                Engine::Patroni => self.break_member(round, &mut rng).await?,
                Engine::Galera => self.break_node(round, &mut rng).await?,
                _ => self.break_single(round, &mut rng).await?,
            }
            // Whoever was away takes part again.
            self.engine.start().await?;
            between = 8_000..16_000;
        }
        Ok(())
    }

    async fn break_single(&self, round: usize, rng: &mut ChaCha8Rng) -> io::Result<()> {
        match round % 4 {
            0 | 2 => {
                self.history.trouble(Trouble::DatabaseKilled, 0);
                self.engine.kill(0).await?;
                some_time(rng, 200..2_000).await;
                self.engine.restart(0).await
            }
            1 => {
                self.history.trouble(Trouble::DatabaseRestarted, 0);
                self.engine.restart(0).await
            }
            _ => {
                self.freeze(Trouble::DatabaseFrozen, 0, rng, 1_000..8_000)
                    .await
            }
        }
    }

    /// A cluster is there for the loss of a node.
    async fn break_node(&self, round: usize, rng: &mut ChaCha8Rng) -> io::Result<()> {
        let server = rng.random_range(0..self.engine.servers().len());
        match round % 4 {
            0 | 2 => {
                self.kill(Trouble::DatabaseKilled, server, rng, 2_000..6_000)
                    .await
            }
            1 => {
                self.cut_off(Trouble::DatabaseCutOff, server, rng, 4_000..9_000)
                    .await
            }
            // Shorter than the others wait for it, and longer.
            _ => {
                self.freeze(Trouble::DatabaseFrozen, server, rng, 1_000..8_000)
                    .await
            }
        }
    }

    /// Mostly the primary: the rest is to take over, and nothing that was acknowledged is to be lost by that.
    async fn break_member(&self, round: usize, rng: &mut ChaCha8Rng) -> io::Result<()> {
        let Some(primary) = self.engine.primary().await? else {
            return Ok(());
        };
        match round % 4 {
            0 => {
                self.cut_off(Trouble::PrimaryCutOff, primary, rng, LONGER_THAN_THE_LOCK)
                    .await
            }
            1 => {
                self.kill(Trouble::PrimaryKilled, primary, rng, 2_000..14_000)
                    .await
            }
            2 => {
                self.freeze(Trouble::PrimaryFrozen, primary, rng, LONGER_THAN_THE_LOCK)
                    .await
            }
            _ => {
                let others = self.engine.servers().len();
                let standby = (primary + rng.random_range(1..others)) % others;
                self.freeze(Trouble::DatabaseFrozen, standby, rng, 2_000..12_000)
                    .await
            }
        }
    }

    async fn kill(
        &self,
        what: Trouble,
        server: usize,
        rng: &mut ChaCha8Rng,
        millis: Range<u64>,
    ) -> io::Result<()> {
        self.history.trouble(what, server);
        self.engine.kill(server).await?;
        some_time(rng, millis).await;
        self.engine.restart(server).await
    }

    async fn freeze(
        &self,
        what: Trouble,
        server: usize,
        rng: &mut ChaCha8Rng,
        millis: Range<u64>,
    ) -> io::Result<()> {
        let begin = self.history.now();
        self.history.trouble(what, server);
        self.engine.freeze(server).await?;
        some_time(rng, millis).await;
        self.engine.thaw(server).await?;
        self.history.stalled_since(begin);
        Ok(())
    }

    async fn cut_off(
        &self,
        what: Trouble,
        server: usize,
        rng: &mut ChaCha8Rng,
        millis: Range<u64>,
    ) -> io::Result<()> {
        let begin = self.history.now();
        self.history.trouble(what, server);
        self.engine.cut(server).await?;
        some_time(rng, millis).await;
        self.engine.mend(server).await?;
        self.history.stalled_since(begin);
        Ok(())
    }

    /// A node of a cluster is late: what is read there is what was before the answer that a client has from another node.
    pub(super) async fn hold_back(&self, mut rng: ChaCha8Rng, end: Instant) -> io::Result<()> {
        let servers = self.engine.servers().len();
        while self.engine == Engine::Galera && pause(&mut rng, 200..1_200, end).await {
            let server = rng.random_range(0..servers);
            let window = Duration::from_millis(rng.random_range(20..250));
            // It may be down, which is no lag.
            if self.database.lag(server, window).await.is_ok() {
                self.history.trouble(Trouble::DatabaseLags, server);
            }
        }
        Ok(())
    }
}

async fn some_time(rng: &mut ChaCha8Rng, millis: Range<u64>) {
    sleep(Duration::from_millis(rng.random_range(millis))).await;
}
