//! What becomes of the connections between the nodes and their database.

use std::{io, time::Duration};

use rand::{RngExt, rngs::ChaCha8Rng, seq::SliceRandom};
use tokio::time::{Instant, sleep};

use super::{Cluster, pause};
use crate::{history::Trouble, load::Load, proxy::Hold};

const ONLY_QUESTIONS: Hold = Hold {
    answers: false,
    ..Hold::SILENCE
};
const ONLY_ANSWERS: Hold = Hold {
    questions: false,
    ..Hold::SILENCE
};
const NOTHING: Hold = Hold {
    questions: false,
    answers: false,
    delay: Duration::ZERO,
};
/// In turn; the first one differs from run to run.
const KINDS: [(Trouble, Hold); 5] = [
    (Trouble::Silence, Hold::SILENCE),
    (Trouble::AnswersHeldBack, ONLY_ANSWERS),
    (Trouble::Delay, NOTHING),
    (Trouble::Silence, Hold::SILENCE),
    (Trouble::QuestionsHeldBack, ONLY_QUESTIONS),
];

impl Cluster<'_> {
    /// Cuts them, every second or so.
    pub(super) async fn cut(&self, mut rng: ChaCha8Rng) {
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

    /// Parts nodes from the database without a reset, one or several of them, in both directions or in one, or makes
    /// what passes late by seconds. Each is to serve again when that is over.
    pub(super) async fn silence(
        &self,
        mut rng: ChaCha8Rng,
        end: Instant,
        load: &Load,
    ) -> io::Result<()> {
        if self.proxies.is_empty() {
            return Ok(());
        }
        let mut between = 1_500..3_000;
        let first = rng.random_range(0..KINDS.len());
        for round in first.. {
            if !pause(&mut rng, between, end).await {
                break;
            }
            between = 6_000..12_000;
            let (kind, mut hold) = KINDS[round % KINDS.len()];
            if kind == Trouble::Delay {
                hold.delay = Duration::from_millis(rng.random_range(300..2_500));
            }
            // Now and then all but one.
            let count = match rng.random_range(0..4) {
                0 => self.proxies.len().max(2) - 1,
                _ => 1,
            };
            let window = Duration::from_millis(rng.random_range(1_000..7_000));
            let parted = self.some(count, &mut rng);
            self.part(kind, hold, window, &parted).await;
            for index in parted {
                self.recovers(index, &format!("{kind:?}"), load).await;
            }
        }
        Ok(())
    }

    async fn part(&self, kind: Trouble, hold: Hold, window: Duration, some: &[usize]) {
        let _disturbed = self.quiet.disturb();
        let begin = self.history.now();
        for index in some {
            self.history.trouble(kind, *index);
            self.proxies[*index].hold(hold);
        }
        sleep(window).await;
        for index in some {
            self.proxies[*index].hold(NOTHING);
        }
        self.history.stalled_since(begin);
    }

    fn some(&self, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let mut all: Vec<_> = (0..self.proxies.len()).collect();
        all.shuffle(rng);
        all.truncate(count);
        all
    }
}
