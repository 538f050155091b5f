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
use serde_json::Value;

use super::{
    family,
    holder::{Holder, Token},
};
use crate::{
    app::App,
    apps::LoadedApp,
    devices::rows::commit,
    error::{Error, RegistrationRefusal as Refusal, Result},
    sessions::{self, Claims, Client, Grant, NewSession},
};

const CHANGED: Error = Error::Contended("the registration is being changed");

/// Begins a session on the device that holds `token`. Its subject and its claims are those that the registration was made
/// with, even if its rows were changed since. The token is not used up.
///
/// # Errors
/// When the audience is none that the registration or the policy of the app has; when the token is not the current one of a live
/// token family of the app, nor its parent within the grace; when the device has used it too often, or is disabled.
pub async fn begin_session(
    app: &App,
    loaded: &Arc<LoadedApp>,
    token: &str,
    client: Client,
    audience: Option<Value>,
) -> Result<Grant> {
    let token = Token::read(token)?;
    let holder = app.retry(|| check(app, loaded, &token)).await?;
    // By the app as it is when the session begins: what another process has forbidden meanwhile is not allowed.
    let new = |loaded: &LoadedApp| {
        let audience = allowed(&loaded.app, &holder.row, audience.clone())?;
        let claims = holder.row.claims.as_deref().unwrap_or("{}");
        let claims = serde_json::from_str(claims).map_err(Error::internal)?;
        Ok(NewSession {
            sub: subject(&holder),
            ip: client.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            user_agent: client.user_agent.clone().unwrap_or_default(),
            device_id: Some(holder.device.id),
            // None of its choice: a device says nothing of its rights.
            claims: Claims::new(audience, None, claims)?,
        })
    };
    let grant = Box::pin(sessions::begin(app, loaded, new)).await?;
    let confirm = || confirm(app, &token, &holder, grant.session_id);
    app.retry(confirm).await?;
    Ok(grant)
}

/// The subject that the registration was made for.
fn subject(holder: &Holder) -> String {
    match (&holder.row.sub, &holder.device.client_id) {
        (Some(sub), _) => sub.clone(),
        // A process of the release before made it, and told the name only.
        (None, Some(name)) if name.chars().count() <= device::LONGEST_NAME => {
            device::subject_of(name)
        }
        (None, _) => device::subject_of(&holder.device.id.to_string()),
    }
}

/// The audience of the session: the one that is asked for, each of several, if the registration or the policy has it; else
/// the first one of these, or the app where there is none.
fn allowed(
    policy: &apps::Model,
    row: &registration_token::Model,
    asked: Option<Value>,
) -> Result<Value> {
    let own = row.audiences.as_deref().unwrap_or("[]");
    let own: Vec<String> = serde_json::from_str(own).map_err(Error::internal)?;
    let app_id = policy.id.to_string();
    let mut all: Vec<&str> = own.iter().map(String::as_str).collect();
    all.extend(policy.device_audiences());
    if all.is_empty() {
        all.push(&app_id);
    }
    let has = |value: &Value| value.as_str().is_some_and(|text| all.contains(&text));
    match asked {
        None => Ok(all.first().copied().into()),
        Some(Value::Array(list)) if list.iter().all(has) => Ok(list.into()),
        Some(one) if has(&one) => Ok(one),
        Some(_) => Err(Error::AudienceNotAllowed),
    }
}

/// The device that holds the token, if the token lets a session begin at this time.
async fn check(app: &App, loaded: &LoadedApp, token: &Token) -> Result<Holder> {
    let now = app.clock.now();
    let holder = token.holder(app, now).await?;
    if holder.device.app_id != loaded.app.id {
        return Err(Refusal::Invalid.into());
    }
    family::exchange(&holder.row, token.presentation(app, &holder.policy, now))?;
    Ok(holder)
}

/// Counts this use of the token, or ends the session again if the use is refused. This is done after the session is stored:
/// an end of the registration at the same time finds the session and ends it, or has written the row that is written here.
async fn confirm(app: &App, token: &Token, holder: &Holder, session_id: SessionId) -> Result<()> {
    let transaction = app.store.begin().await?;
    match count(app, &transaction, token, holder).await {
        Ok(()) => commit(app, transaction).await,
        Err(refusal @ (Error::RegistrationToken(_) | Error::DeviceDisabled)) => {
            let (now, policy) = (app.clock.now(), &holder.policy);
            let (id, flush_count) = (policy.id, policy.flush_count);
            let target = Target::Session(session_id);
            let reason = Revocation::Device;
            session::revoke_in(&transaction, id, flush_count, &target, reason, now).await?;
            commit(app, transaction).await?;
            Err(refusal)
        }
        Err(error) => Err(error),
    }
}

/// Counts this use.
async fn count(app: &App, db: &impl ConnectionTrait, token: &Token, holder: &Holder) -> Result<()> {
    let (now, app_id) = (app.clock.now(), holder.device.app_id);
    if !device::hold_live(db, app_id, holder.device.id, now).await? {
        let found = device::find_in(db, app_id, holder.device.id).await?;
        let row = registration_token::find(db, token.id).await?;
        return Err(match (found, row) {
            (Some(_), _) => Error::DeviceDisabled,
            // Its record became one with another of the same device: the next time that is found.
            (None, Some(row)) if row.device_id != holder.device.id => CHANGED,
            (None, _) => Refusal::Revoked.into(),
        });
    }
    let row = registration_token::find(db, token.id).await?;
    // As it is in the store: a flush may not be known here yet.
    let policy = apps::find(db, app_id).await?;
    let (row, policy) = row.zip(policy).ok_or(Refusal::Revoked)?;
    let after = family::exchange(&row, token.presentation(app, &policy, now))?;
    let is_counted = registration_token::advance(db, &row, &after).await?;
    is_counted.then_some(()).ok_or(CHANGED)
}
