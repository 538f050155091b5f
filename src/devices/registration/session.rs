//! Begins a session of a device, by its registration token.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use entity::{
    SessionId, app as apps, device, registration_token,
    session::{self, Revocation, Target},
};
use sea_orm::ConnectionTrait;
use serde_json::{Map, Value};

use super::{
    holder::{Holder, Token},
    lineage::{self, Presented},
};
use crate::{
    app::App,
    apps::{ATTEMPTS, LoadedApp},
    devices::commit,
    error::{Error, RegistrationRefusal as Refusal, Result},
    sessions::{self, Claims, Client, Grant, NewSession},
};

/// Begins a session on the device that holds `token`. Its subject is the device: what the client calls it, else its id. The
/// token stays what it is.
///
/// # Errors
/// When the token is not the current one of a live lineage of the app, nor its parent within the grace, or the device has used
/// it too often; when the device is disabled; those of the store.
pub async fn begin_session(
    app: &App,
    loaded: &Arc<LoadedApp>,
    token: &str,
    client: Client,
    audience: Option<Value>,
) -> Result<Grant> {
    let token = Token::read(token)?;
    let holder = app.store.retry(|| check(app, loaded, &token)).await?;
    let device = &holder.device;
    let audience = audience.unwrap_or_else(|| loaded.app.issuer().into());
    let new = NewSession {
        sub: match &device.client_id {
            Some(name) => name.clone(),
            None => device.id.to_string(),
        },
        ip: client.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        user_agent: client.user_agent.unwrap_or_default(),
        device_id: Some(device.id),
        // None of its choice: a device says nothing of its rights.
        claims: Claims::new(audience, None, Map::new())?,
    };
    let grant = Box::pin(sessions::begin(app, loaded, new)).await?;
    let confirm = || confirm(app, &token, &holder, grant.session_id);
    app.store.retry(confirm).await?;
    Ok(grant)
}

/// Whoever holds the token, if a session may begin by it now.
async fn check(app: &App, loaded: &LoadedApp, token: &Token) -> Result<Holder> {
    let now = app.clock.now();
    let holder = token.holder(app, now).await?;
    if holder.device.app_id != loaded.app.id {
        return Err(Refusal::Invalid.into());
    }
    lineage::exchange(&holder.row, token.presented(app, &holder, now))?;
    Ok(holder)
}

/// Counts this use of the token, or ends the session again if it may not be. After the session is there for all to see:
/// whoever ends the registration meanwhile finds the session and ends it, or has written the row that is written here.
async fn confirm(app: &App, token: &Token, holder: &Holder, session_id: SessionId) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let transaction = app.store.begin().await?;
        match count(app, &transaction, token, holder).await {
            Ok(false) => {}
            Ok(true) => return commit(app, transaction).await,
            Err(refusal @ (Error::RegistrationToken(_) | Error::DeviceDisabled)) => {
                let (now, app_id) = (app.clock.now(), holder.device.app_id);
                let target = Target::Session(session_id);
                let reason = Revocation::Device;
                session::revoke_in(&transaction, app_id, &target, reason, now).await?;
                commit(app, transaction).await?;
                return Err(refusal);
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::too_many_changes())
}

/// `false` when somebody else wrote the lineage meanwhile.
async fn count(
    app: &App,
    db: &impl ConnectionTrait,
    token: &Token,
    holder: &Holder,
) -> Result<bool> {
    let (now, app_id) = (app.clock.now(), holder.device.app_id);
    if !device::hold_live(db, app_id, holder.device.id, now).await? {
        let found = device::find_in(db, app_id, holder.device.id).await?;
        let row = registration_token::find(db, token.id).await?;
        return Err(match (found, row) {
            (Some(_), _) => Error::DeviceDisabled,
            // Its record became one with another of the same device: the next time that is found.
            (None, Some(row)) if row.device_id != holder.device.id => Error::too_many_changes(),
            (None, _) => Refusal::Revoked.into(),
        });
    }
    let row = registration_token::find(db, token.id).await?;
    // As it is in the store: a flush may not be known here yet.
    let policy = apps::find(db, app_id).await?;
    let (row, policy) = row.zip(policy).ok_or(Refusal::Revoked)?;
    let limit = app.config.registration_refreshes_per_hour;
    let presented = Presented::to(&policy, &token.hash, now, limit);
    let after = lineage::exchange(&row, presented)?;
    Ok(registration_token::advance(db, &row, &after).await?)
}
