//! The disk of the embedded store: it is full, it fails, it loses its power.

use std::{io, time::Duration};

use rand::{RngExt, rngs::ChaCha8Rng};
use tokio::time::{Instant, sleep};

use super::{Cluster, pause};
use crate::{
    faults::{ALL, Disk, Loss, MAIN, WAL},
    history::Trouble,
};

impl Cluster<'_> {
    /// One trouble after another, each for a second or two, where the store is on a disk of ours.
    ///
    /// # Errors
    /// When a node does not start afterwards.
    pub(super) async fn break_disk(&self, mut rng: ChaCha8Rng, end: Instant) -> io::Result<()> {
        let Some(disk) = &self.disk else {
            return Ok(());
        };
        for round in 0.. {
            if !pause(&mut rng, 2_000..5_000, end).await {
                break;
            }
            let _disturbed = self.quiet.disturb();
            let left = rng.random_range(0..50_000);
            let trouble = match round % 4 {
                0 => Trouble::DiskFull,
                1 => Trouble::PowerLost,
                _ => Trouble::DiskFails,
            };
            self.history.trouble(trouble, 0);
            match round % 4 {
                0 => disk.fill(ALL, left)?,
                3 => disk.fail_writes(WAL, left)?,
                2 => disk.fail_syncs(MAIN | WAL, left % 4)?,
                _ => {
                    self.lose_power(disk, &mut rng).await?;
                    continue;
                }
            }
            sleep(Duration::from_millis(rng.random_range(500..2_000))).await;
            disk.heal()?;
            if round > 4 && disk.failures()? == 0 {
                let message = "the disk never failed, though it should have";
                self.history.complain(message.to_owned());
            }
        }
        Ok(())
    }

    /// All nodes are on one machine, whose power fails: what was written and not synced is gone, or a part of it.
    async fn lose_power(&self, disk: &Disk, rng: &mut ChaCha8Rng) -> io::Result<()> {
        let mut turns = Vec::new();
        for node in &self.nodes {
            turns.push(node.turn().await);
        }
        // So that something is written and not yet synced.
        disk.slow_down(10)?;
        sleep(Duration::from_millis(rng.random_range(100..300))).await;
        for node in &self.nodes {
            node.kill().await?;
        }
        disk.slow_down(0)?;
        disk.lose_power(match rng.random_bool(0.5) {
            true => Loss::All,
            false => Loss::Some(rng.random()),
        })?;
        for node in &self.nodes {
            node.start().await?;
        }
        Ok(())
    }
}
