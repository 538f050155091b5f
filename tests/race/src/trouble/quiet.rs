//! Whether anything is broken right now, so that a node can be asked to be well again when nothing is.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::Cluster;
use crate::load::Load;

/// How long a node may take to serve again when nothing is broken any more. It is the patience of a client and then
/// some: the machine is busy.
const RECOVERED: Duration = Duration::from_secs(8);

/// What takes a node or a database away is counted; a connection that is cut for a moment is not.
#[derive(Debug)]
pub struct Quiet(Mutex<Disturbances>);

#[derive(Debug)]
struct Disturbances {
    going_on: usize,
    last: Instant,
}

/// Goes on until it is dropped.
#[derive(Debug)]
pub struct Disturbance<'a>(&'a Quiet);

impl Quiet {
    pub fn begin() -> Self {
        Self(Mutex::new(Disturbances {
            going_on: 0,
            last: Instant::now(),
        }))
    }

    #[must_use]
    pub fn disturb(&self) -> Disturbance<'_> {
        self.change(|now| now.going_on += 1);
        Disturbance(self)
    }

    /// Since when nothing is broken; `None` while something is.
    fn since(&self) -> Option<Instant> {
        self.change(|now| (now.going_on == 0).then_some(now.last))
    }

    fn change<T>(&self, with: impl FnOnce(&mut Disturbances) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Disturbance<'_> {
    fn drop(&mut self) {
        self.0.change(|now| {
            now.going_on -= 1;
            now.last = Instant::now();
        });
    }
}

impl Cluster<'_> {
    /// Waits until the node serves again after `what`, and complains if it does not while nothing is broken.
    pub async fn recovers(&self, node: usize, what: &str, load: &Load) {
        let healed = Instant::now();
        while !load.is_served(node).await {
            let quiet = self.quiet.since().map(|since| since.max(healed).elapsed());
            if quiet.is_some_and(|quiet| quiet > RECOVERED) {
                let message = format!("node {node} did not recover from {what} in {RECOVERED:?}");
                self.history.complain(message);
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}
