//! Lists the apps.

use entity::{AppId, app};

use crate::{app::App, error::Result, page::Listing};

/// Apps that are read at a time when only some of them are sought.
const PAGE: u64 = 500;

/// The apps whose name contains `name`, whatever the case of its letters; the newest first, at most `limit` of them.
pub async fn list(
    app: &App,
    name: Option<&str>,
    before: Option<AppId>,
    limit: u64,
) -> Result<Listing<app::Model, AppId>> {
    // Engines differ in what they take for the same letter, so they are not asked.
    let sought = name.unwrap_or_default().to_lowercase();
    let page = if sought.is_empty() { limit + 1 } else { PAGE };
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let read = async || {
        let mut found = Vec::new();
        let mut before = before;
        loop {
            let rows = app::list(&app.store.reader, before, page).await?;
            let is_last = rows.len() < usize::try_from(page).unwrap_or(usize::MAX);
            before = rows.last().map(|row| row.id);
            let is_sought = |row: &app::Model| row.name.to_lowercase().contains(&sought);
            found.extend(rows.into_iter().filter(is_sought));
            if is_last || found.len() > most {
                return Ok(Listing::cut(found, limit, |app| app.id));
            }
        }
    };
    app.retry(read).await
}
