//! Push tokens are sealed and hashed anew when the master key is replaced.

use entity::device;

use super::{push_token::label, targets::open};
use crate::{app::App, error::Result};

/// Rows that are sealed anew in one transaction.
const BATCH: u64 = 100;

/// Seals and hashes every push token anew that was not with the key that seals at this time; gives the number.
pub async fn reseal(app: &App) -> Result<u64> {
    let sealing = app.master.sealing(&app.store.reader).await?;
    let (mut resealed, mut after) = (0, None);
    loop {
        let rows = device::page_sealed(&app.store.reader, after, BATCH).await?;
        let Some(last) = rows.last().map(|row| row.id) else {
            return Ok(resealed);
        };
        let transaction = app.store.begin().await?;
        for row in &rows {
            let label = label(row.id);
            let sealed = row.push_token.as_deref().unwrap_or_default();
            if sealing.is_current(&label, sealed) {
                continue;
            }
            // One that no key opens is lost already, and does not keep the others.
            let Some(token) = open(app, row) else {
                continue;
            };
            let macs = sealing.push_macs(row.app_id, token.reveal());
            let sealed = sealing.seal(&app.rng, &label, token.reveal().as_bytes())?;
            if let Some(mac) = macs.into_iter().next() {
                resealed += u64::from(device::reseal(&transaction, row, mac, sealed).await?);
            }
        }
        app.store.commit(transaction).await?;
        after = Some(last);
    }
}
