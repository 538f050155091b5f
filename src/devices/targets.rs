//! Where messages for a user are pushed to.

use entity::{AppId, DeviceId, PlainSecret, device};

use super::push_token::label;
use crate::{app::App, error::Result, page::Listing};

/// A device with its push token, opened.
#[derive(Debug)]
pub struct PushTarget {
    pub device: device::Model,
    pub token: PlainSecret,
}

/// The devices of the user that have a push token and are not disabled, the newest first, at most `limit` of them.
pub async fn push_targets(
    app: &App,
    app_id: AppId,
    sub: &str,
    before: Option<DeviceId>,
    limit: u64,
) -> Result<Listing<PushTarget, DeviceId>> {
    let read = async || {
        let query = device::reachable_of(app_id, sub);
        let rows = device::page(&app.store.reader, query, before, limit + 1).await?;
        Ok(Listing::cut(rows, limit, |device| device.id))
    };
    let page = app.retry(read).await?;
    let open = |device: device::Model| {
        let token = open(app, &device);
        if token.is_none() {
            tracing::warn!(device_id = %device.id, "the push token does not open");
        }
        token.map(|token| PushTarget { device, token })
    };
    Ok(Listing {
        items: page.items.into_iter().filter_map(open).collect(),
        next: page.next,
    })
}

/// The push token of the device; `None` when it has none, or it does not open: one that is damaged does not keep messages from
/// the others.
pub fn open(app: &App, device: &device::Model) -> Option<PlainSecret> {
    let sealed = device.push_token.as_ref()?;
    let plain = app.master.open(&label(device.id), sealed).ok()?;
    std::str::from_utf8(&plain).ok().map(PlainSecret::from_text)
}
