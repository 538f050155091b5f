//! Lists what was recorded.

use entity::{AuditEventId, audit_event};

use crate::{app::App, error::Result, page::Listing};

/// The events that `filter` wants, the newest first, at most `limit` of them.
pub async fn list(
    app: &App,
    filter: audit_event::Filter,
    limit: u64,
) -> Result<Listing<audit_event::Model, AuditEventId>> {
    let read = async || {
        let rows = audit_event::list(&app.store.reader, filter, limit + 1).await?;
        Ok(Listing::cut(rows, limit, |event| event.id))
    };
    app.retry(read).await
}
