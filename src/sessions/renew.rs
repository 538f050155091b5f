//! Renews a session with its refresh token.

use std::{net::IpAddr, sync::Arc};

use entity::{DeviceId, TokenId, time::Span};

use crate::{
    app::App,
    apps::{ATTEMPTS, Caller, LoadedApp},
    devices,
    error::{Error, Refusal, Result},
    sessions::{
        renewal::{Outcome, Renewal},
        tokens::{
            Grant, Lifetimes, Prepared, issue, prepare_refresh, read_refresh,
            read_refresh_unverified,
        },
    },
};

/// Where a refresh token came from; what is not known stays as it was.
#[derive(Clone, Debug, Default)]
pub struct Client {
    pub ip: Option<IpAddr>,
    pub user_agent: Option<String>,
    pub device_id: Option<DeviceId>,
}

/// Renews the session of `refresh_token`: of any number that present it at once, one wins.
///
/// # Errors
/// A [`Refusal`] when the token does not renew; for [`Refusal::Used`] the session is revoked by then. When the session may
/// not be on the device.
pub async fn renew(
    app: &App,
    caller: &Caller,
    refresh_token: &str,
    client: Client,
) -> Result<Grant> {
    let result = attempt(app, caller, refresh_token, client).await;
    app.metrics.renewed(&result);
    result
}

async fn attempt(app: &App, caller: &Caller, refresh_token: &str, client: Client) -> Result<Grant> {
    let mut loaded = caller.app.clone();
    if let Some(device) = client.device_id {
        // Before anything is told of a session, the token is known to be one of ours.
        let token = read_refresh(&loaded, refresh_token)?;
        let app_id = loaded.app.id;
        Box::pin(devices::tie(app, app_id, token.sid, token.jid, device)).await?;
    }
    let (mut renewal, mut prepared) = prepare(app, &loaded, caller, refresh_token, &client)?;
    for _ in 0..ATTEMPTS {
        let (now, session_id) = (renewal.now, renewal.session_id);
        match app.store.sessions.renew(renewal.clone()).await? {
            Outcome::Renewed(session) => {
                return issue(&loaded, &session, Some(prepared), now, &app.rng);
            }
            Outcome::Reused => {
                let app_id = loaded.app.id;
                tracing::warn!(%app_id, %session_id, "refresh token reused: session revoked");
                return Err(Refusal::Used.into());
            }
            Outcome::Refused(refusal) => return Err(refusal.into()),
            Outcome::Unconfirmed => return Err(Error::unconfirmed()),
            Outcome::Unrecognised => {
                app.metrics.verifies();
                read_refresh(&loaded, refresh_token)?;
                Arc::make_mut(&mut renewal).is_verified = true;
            }
            Outcome::Stale => {
                loaded = app.reload(loaded.app.id).await?;
                // Nothing that was known by the old keys is known any more.
                (renewal, prepared) = prepare(app, &loaded, caller, refresh_token, &client)?;
            }
        }
    }
    Err(Error::too_many_changes())
}

/// What is asked of the store, and the refresh token that is to follow: signed before it is known whether it will, so that
/// the row can tell it when it comes back.
fn prepare(
    app: &App,
    loaded: &LoadedApp,
    caller: &Caller,
    refresh_token: &str,
    client: &Client,
) -> Result<(Arc<Renewal>, Prepared)> {
    let now = app.clock.now();
    let policy = &loaded.app;
    let token = read_refresh_unverified(loaded, refresh_token)?;
    let next = app.rng.with(|rng| TokenId::mint(now, rng));
    let (key, lifetimes) = (loaded.keyring.active(now)?, Lifetimes::of(policy));
    let expires_at = lifetimes.refresh_expires_at(now);
    let prepared = prepare_refresh(loaded, &app.master, key, token.sid, next, now, expires_at)?;
    let renewal = Renewal {
        app_id: policy.id,
        epoch: loaded.epoch,
        actor: caller.actor.clone(),
        session_id: token.sid,
        presented: token.jid,
        not_before: token.not_before(),
        expires_at: token.expires_at(),
        mac: app.master.token_mac(refresh_token),
        is_verified: false,
        now,
        leeway: app.config.leeway(),
        grace: Span::seconds(policy.refresh_grace),
        flush_count: policy.flush_count,
        next,
        key_id: key.row.id,
        lifetimes,
        next_mac: prepared.mac.clone(),
        next_expires_at: prepared.expires_at,
        ip: client.ip.map(|ip| ip.to_string()),
        user_agent: client.user_agent.clone(),
        in_doubt: false,
    };
    Ok((Arc::new(renewal), prepared))
}
