//! What becomes of the clocks of the nodes.

use std::{io, time::Duration};

use rand::{RngExt, rngs::ChaCha8Rng};
use tokio::time::{Instant, sleep};

use super::{Cluster, pause};
use crate::history::{Jump, Span, Trouble};

const DAY: i64 = 86_400;
/// Until a node has noticed that its clock was set.
const NOTICED: Duration = Duration::from_secs(2);

impl Cluster<'_> {
    /// Sets the clock of a node days off, and then right again: ahead from its start, or ahead or back while it runs.
    pub(super) async fn jump(&self, mut rng: ChaCha8Rng, end: Instant) -> io::Result<()> {
        let mut between = 4_000..10_000;
        for round in 0.. {
            if !pause(&mut rng, between, end).await {
                break;
            }
            between = 20_000..40_000;
            let node = &self.nodes[rng.random_range(0..self.nodes.len())];
            let restarts = round % 2 == 0;
            let days = rng.random_range(3..600);
            let is_back = !restarts && rng.random();
            let _turn = node.turn().await;
            let _disturbed = self.quiet.disturb();
            let begin = self.history.now();
            self.history.trouble(Trouble::ClockJumped, node.index);
            if restarts {
                node.stop().await?;
            }
            node.set_clock(if is_back { -days } else { days } * DAY)?;
            if restarts {
                node.start().await?;
            }
            sleep(Duration::from_millis(rng.random_range(1_500..8_000))).await;
            node.set_clock(0)?;
            sleep(NOTICED).await;
            self.history.trouble(Trouble::ClockBack, node.index);
            let span = Span {
                begin,
                end: self.history.now(),
            };
            let node = node.index;
            self.history
                .write(|history| history.jumps.push(Jump { node, span }));
        }
        Ok(())
    }
}
