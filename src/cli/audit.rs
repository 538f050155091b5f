//! `renewd audit`

use clap::Args;
use entity::{AppId, Timestamp, audit_event};

use super::{
    outcome::Outcome,
    print::{Format, json_of, many},
};
use crate::{api::root::AuditEventObject, app::App, audit, page::Listing};

/// Events that are read from the store at a time.
const PAGE: u64 = 500;

#[derive(Debug, Args)]
pub struct Command {
    /// Events of this app only
    #[arg(long, value_name = "APP_ID")]
    app: Option<AppId>,
    /// Events of then and later only, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// The newest so many
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    format: Format,
}

pub async fn run(command: &Command, app: &App) -> Outcome {
    let mut left = command.limit;
    let events = Listing::all(async |before| {
        let filter = audit_event::Filter {
            app_id: command.app,
            since: command.since,
            before,
        };
        let page = u64::try_from(left).unwrap_or(PAGE).min(PAGE);
        let mut listing = audit::list(app, filter, page).await?;
        left -= listing.items.len();
        if left == 0 {
            listing.next = None;
        }
        Ok(listing)
    })
    .await?;
    let shown: Vec<_> = events
        .into_iter()
        .map(|event| json_of(&AuditEventObject::from(event)))
        .collect();
    let columns = [
        "at",
        "action",
        "app_id",
        "target",
        "actor",
        "ip",
        "request_id",
    ];
    many(command.format, "events", &shown, &columns)
}

/// Reads a time of the command line.
pub fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::from_rfc3339(text)
        .ok_or_else(|| "must be a time in RFC 3339, such as 2026-11-20T12:00:00Z".to_owned())
}
