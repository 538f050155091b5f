//! Push tokens in the store: sealed, so that a backend that sends messages can read them; hashed, so that they are found.

use entity::{AppId, DeviceId, PlainSecret, Timestamp, device, session::TokenMac};
use sea_orm::ConnectionTrait;

use crate::{app::App, error::Result, master::Sealing};

/// A push token as it was presented, and the hashes by which it is found.
#[derive(Clone, Debug)]
pub struct PushToken<'a> {
    token: &'a PlainSecret,
    /// First the hash that is stored from this time on, then the hashes that older rows may have.
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

    /// Gives the device this push token. The push token that the device had becomes the parent.
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

/// The label by which a sealed push token is bound to its device: the row of another device cannot take it over.
pub fn label(id: DeviceId) -> String {
    format!("renewd/push-token/{id}")
}
