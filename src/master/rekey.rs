//! Replaces the master key, while servers run.

use std::{fs, path::Path};

use ambient::Rng;
use entity::{setting, signing_key};

use super::{
    FILE, MasterKeyFault, PREVIOUS_FILE, Source, fault, generate, read, remove, write_new,
};
use crate::{
    app::App,
    audit::{Action, Actor, Event, record},
    devices,
    error::{Error, Result},
    signing::seal_label,
};

/// Rows that are sealed anew in one transaction.
pub const BATCH: u64 = 100;

/// Replaces the master key, and seals every signing key and push token anew. May be interrupted at any point and called again:
/// both keys are accepted until it is done. Gives the number of signing keys that were sealed anew.
///
/// With keys from the environment, the old one must be in `RENEWD_PREVIOUS_MASTER_KEY`.
///
/// # Errors
/// When a file cannot be written, or a signing key does not open; those of the store.
pub async fn rekey(app: &App, actor: &Actor) -> Result<u64> {
    if let Source::Files(folder) = &app.master.source {
        begin(folder, &app.rng).map_err(Error::internal)?;
        app.master.reload()?;
    }
    let keys = app.master.get();
    let now = app.clock.now();
    let transaction = app.store.begin().await?;
    setting::set_master_key(&transaction, keys.current.fingerprint()).await?;
    setting::advance_epoch(&transaction).await?;
    let event = Event::of_server(Action::MasterKeyReplace);
    record(&transaction, &app.rng, now, actor, [event]).await?;
    app.store.commit(transaction).await?;

    let mut resealed = 0;
    let mut after = None;
    loop {
        let rows = signing_key::page(&app.store.reader, after, BATCH).await?;
        let Some(last) = rows.last().map(|row| row.id) else {
            break;
        };
        let transaction = app.store.begin().await?;
        for row in &rows {
            let label = seal_label(row.id);
            if keys.current.open(&label, &row.sealed).is_err() {
                let private = keys.open(&label, &row.sealed).map_err(Error::internal)?;
                let sealed = app
                    .rng
                    .with(|mut rng| keys.current.seal(&mut rng, &label, &private))
                    .map_err(Error::internal)?;
                resealed += u64::from(signing_key::reseal(&transaction, row, sealed).await?);
            }
        }
        app.store.commit(transaction).await?;
        after = Some(last);
    }
    // Until there is nothing left to do: whoever was about to store something when the key was replaced has done so by then.
    while devices::reseal(app).await? > 0 {}
    if let Source::Files(folder) = &app.master.source {
        // Another that does the same may have been the first to finish.
        remove(&folder.join(PREVIOUS_FILE)).map_err(Error::internal)?;
        app.master.reload()?;
    }
    Ok(resealed)
}

/// Puts a new key into the file, the one before beside it; unless that was done already.
fn begin(folder: &Path, rng: &Rng) -> Result<(), MasterKeyFault> {
    let (path, previous) = (folder.join(FILE), folder.join(PREVIOUS_FILE));
    let Some(loaded) = read(folder)? else {
        return Err(MasterKeyFault::Missing(path));
    };
    match &loaded.previous {
        // Interrupted after the new key was in place.
        Some(key) if key.fingerprint() != loaded.current.fingerprint() => return Ok(()),
        // Interrupted before.
        Some(_) => {}
        None => write_new(&previous, &loaded.current)?,
    }
    let next = folder.join("master.key.next");
    remove(&next)?;
    write_new(&next, &generate(&next, rng)?)?;
    // Nothing is sealed by the new key before a power cut can no longer bring the old one back.
    fs::rename(&next, &path)
        .and_then(|()| fs::File::open(folder)?.sync_all())
        .map_err(|source| fault(&path, source))
}
