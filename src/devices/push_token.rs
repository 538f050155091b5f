//! Push tokens at rest: sealed, to be read by who sends; hashed, to be found.

use entity::{AppId, DeviceId, PlainSecret, Timestamp, device, session::TokenMac};
use sea_orm::ConnectionTrait;

use crate::{app::App, error::Result, master::Sealing};

/// A push token as it was presented, and the hashes by which it is found.
#[derive(Clone, Debug)]
pub struct PushToken<'a> {
    token: &'a PlainSecret,
    /// The one that is stored from now on, then those that may be stored still.
    pub macs: Vec<TokenMac>,
    sealing: Sealing,
}

impl<'a> PushToken<'a> {
    /// Hashes the token as the store does at this time.
    pub async fn new(
        app: &App,
        db: &impl ConnectionTrait,
        app_id: AppId,
        token: &'a PlainSecret,
    ) -> Result<Self> {
        let sealing = app.master.sealing(db).await?;
        Ok(Self {
            token,
            macs: sealing.push_macs(app_id, token.reveal()),
            sealing,
        })
    }

    /// Whether the device has it.
    pub fn is_of(&self, row: &device::Model) -> bool {
        row.push_token_mac.as_ref().is_some_and(|mac| self.is(mac))
    }

    /// Whether `mac` is one of its hashes.
    pub fn is(&self, mac: &TokenMac) -> bool {
        self.macs.contains(mac)
    }

    /// Makes it the one that the device has, and the one that it had its parent.
    ///
    /// # Errors
    /// When it cannot be sealed.
    pub fn give(&self, app: &App, row: &mut device::Model, now: Timestamp) -> Result<()> {
        if self.is_of(row) {
            return Ok(());
        }
        let label = label(row.id);
        let sealed = self
            .sealing
            .seal(&app.rng, &label, self.token.reveal().as_bytes())?;
        row.push_parent_mac = row.push_token_mac.take();
        row.push_token_mac = self.macs.first().cloned();
        row.push_token = Some(sealed);
        row.push_token_at = Some(now);
        Ok(())
    }

    /// The master key that a token which was given is sealed by: see [`confirm`](crate::master::confirm).
    pub fn sealed_by(&self) -> i64 {
        self.sealing.fingerprint()
    }
}

/// What a push token is bound to when it is sealed: one device's cannot be put into another's row.
pub fn label(id: DeviceId) -> String {
    format!("renewd/push-token/{id}")
}
