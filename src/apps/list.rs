//! Lists the apps.

use entity::{AppId, app};

use crate::{app::App, error::Result, page::Listing};

/// The apps, the newest first, at most `limit` of them.
pub async fn list(
    app: &App,
    before: Option<AppId>,
    limit: u64,
) -> Result<Listing<app::Model, AppId>> {
    let read = async || {
        let rows = app::list(&app.store.reader, before, limit + 1).await?;
        Ok(Listing::cut(rows, limit, |app| app.id))
    };
    app.retry(read).await
}
