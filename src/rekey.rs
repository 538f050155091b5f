//! Replaces the master key, while servers run.

use entity::{setting, signing_key};

use crate::{
    app::App,
    apps::ServerRevision,
    audit::{Action, Actor, Event},
    devices,
    error::{Error, Result},
};

/// Rows that are sealed anew in one transaction.
const BATCH: u64 = 100;

/// Replaces the master key, and seals every signing key and push token anew. May be interrupted at any point and called again:
/// both keys are accepted until it is done. Gives the number of signing keys that were sealed anew.
///
/// With keys from the environment, the old one must be in `RENEWD_PREVIOUS_MASTER_KEY`.
///
/// # Errors
/// When a file cannot be written, or a signing key does not open.
pub async fn rekey(app: &App, actor: &Actor) -> Result<u64> {
    app.master.replace(&app.rng)?;
    let keys = app.master.get();
    let revision = ServerRevision::begin(app, actor).await?;
    setting::set_master_key(&revision.db, keys.current().fingerprint()).await?;
    let event = Event::of_server(Action::MasterKeyReplace);
    revision.commit([event]).await?;

    let mut resealed = 0;
    let mut after = None;
    loop {
        let rows = signing_key::page(&app.store.reader, after, BATCH).await?;
        let Some(last) = rows.last().map(|row| row.id) else {
            break;
        };
        let transaction = app.store.begin().await?;
        for row in &rows {
            let label = signing_key::seal_label(row.id);
            if keys.current().open(&label, &row.sealed).is_err() {
                let private = keys.open(&label, &row.sealed).map_err(Error::internal)?;
                let sealed = app
                    .rng
                    .with(|mut rng| keys.current().seal(&mut rng, &label, &private))
                    .map_err(Error::internal)?;
                resealed += u64::from(signing_key::reseal(&transaction, row, sealed).await?);
            }
        }
        app.store.commit(transaction).await?;
        after = Some(last);
    }
    // Until there is nothing left to do: whoever was about to store something when the key was replaced has done so by then.
    while devices::reseal(app).await? > 0 {}
    app.master.forget_previous()?;
    Ok(resealed)
}
