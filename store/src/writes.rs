//! Whether the store takes writes: one that can be read may be full, or fail, or have become read only.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use entity::setting;
use rand::RngExt;
use sea_orm::DbErr;
use tokio::{sync::Mutex, time::timeout};

use crate::{
    Store, deadline,
    engine::{self, Failure},
};

/// How long a write may take that only tells whether there can be any.
const PROBE: Duration = Duration::from_secs(1);

/// What is known of the last writes.
#[derive(Debug, Default)]
pub struct Writes {
    /// Whether one has failed since a probe succeeded.
    failed: AtomicBool,
    /// Held by whoever probes.
    probe: Mutex<()>,
}

impl Writes {
    /// Notes why something was not done.
    pub fn note(&self, error: &DbErr) {
        if engine::failure(error) == Failure::Outage && !engine::is_closed(error) {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}

impl Store {
    /// Whether the store takes writes. While it does, this asks nothing; after a failure it writes something.
    ///
    /// # Errors
    /// Why it takes none.
    pub(super) async fn takes_writes(&self) -> Result<(), DbErr> {
        if !self.writes.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let probed = timeout(PROBE, async {
            let _alone = self.writes.probe.lock().await;
            if self.writes.failed.load(Ordering::Relaxed) {
                self.probe().await?;
                self.writes.failed.store(false, Ordering::Relaxed);
                tracing::info!("the store takes writes again");
            }
            Ok(())
        });
        probed.await.unwrap_or_else(|_| Err(deadline::over()))
    }

    async fn probe(&self) -> Result<(), DbErr> {
        let transaction = self.writer.begin().await?;
        // Another value each time: SQLite writes nothing that is there already.
        let value = self.rng.with(|rng| rng.random());
        setting::write_probe(&transaction, value).await?;
        Ok(engine::commit(transaction).await?)
    }
}
