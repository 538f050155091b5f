//! Tells who presents a registration token.

use entity::{
    PlainSecret, RegistrationTokenId, SecretHash, Timestamp, app as apps, device,
    registration_token::{self, Model},
};
use sea_orm::ConnectionTrait;

use super::family::{Presentation, is_known};
use crate::{
    app::App,
    devices::rows::commit,
    error::{Error, RegistrationRefusal as Refusal, Result},
};

/// A registration token that was presented: the token family that it names, and what is compared with that.
#[derive(Debug)]
pub struct Token {
    pub id: RegistrationTokenId,
    pub hash: SecretHash,
}

/// The device that holds a token, as of one moment.
#[derive(Debug)]
pub struct Holder {
    /// Its app as the store has it: what is in memory may not know of a flush yet.
    pub policy: apps::Model,
    pub device: device::Model,
    pub row: Model,
}

impl Token {
    /// Takes a token that has the form of ours. Garbage does not reach the store.
    ///
    /// # Errors
    /// When it has not.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let secret = PlainSecret::from_text(text);
        let id = secret.parse_registration().ok_or(Refusal::Invalid)?;
        let hash = secret.hash();
        Ok(Self { id, hash })
    }

    /// The device that holds the token, if the token is the current one of its family or the parent within its grace: nobody else
    /// is told anything of the device.
    ///
    /// # Errors
    /// When it is neither, or the device is disabled, or its app deleted.
    pub async fn holder(&self, app: &App, now: Timestamp) -> Result<Holder> {
        match self.find_holder(&app.store.reader, now).await {
            // A device that is told so gives its token up: not by what a server says that has not noticed yet that another
            // one took its place.
            Err(Error::RegistrationToken(_) | Error::AppDisabled) if app.store.is_server() => {
                let transaction = app.store.begin().await?;
                app.store.prove(&transaction).await?;
                let found = self.find_holder(&transaction, now).await;
                commit(app, transaction).await?;
                found
            }
            found => found,
        }
    }

    async fn find_holder(&self, db: &impl ConnectionTrait, now: Timestamp) -> Result<Holder> {
        let row = registration_token::find(db, self.id).await?;
        let row = row
            .filter(|row| is_known(row, &self.hash, now))
            .ok_or(Refusal::Invalid)?;
        let policy = apps::find(db, row.app_id).await?;
        let policy = policy.ok_or(Error::AppDisabled)?;
        match device::find_in(db, row.app_id, row.device_id).await? {
            Some(device) if device.is_disabled() => Err(Error::DeviceDisabled),
            Some(device) => Ok(Holder {
                policy,
                device,
                row,
            }),
            None => Err(Refusal::Revoked.into()),
        }
    }

    /// The token as it is presented at `now`, by the policy of its app.
    pub fn presentation(
        &self,
        app: &App,
        policy: &apps::Model,
        now: Timestamp,
    ) -> Presentation<'_> {
        let limit = app.config.registration_refreshes_per_hour;
        Presentation::by(policy, &self.hash, now, limit)
    }
}
