//! Renews a session with its refresh token.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use entity::{DeviceId, TokenId, app_key};

use crate::{
    app::App,
    apps::{Caller, LoadedApp},
    devices::{self, Telling},
    error::{Error, Refusal, Result},
    sessions::{
        lifetimes::Lifetimes,
        presented::{named_key, read_refresh, read_refresh_unverified},
        renewal::{Outcome, Renewal},
        tokens::{Grant, RefreshToken, issue, new_refresh_token},
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
    let mut result = renew_by(app, caller, refresh_token, &client).await;
    if let Err(Error::RefreshToken(Refusal::Invalid)) = result
        && let Some(key) = named_key(refresh_token)
        && let Some(newer) = Box::pin(caller.again_for_key(app, key)).await?
    {
        result = Box::pin(renew_by(app, &newer, refresh_token, &client)).await;
    }
    app.metrics.renewed(label(&result));
    result
}

/// Renews the session by the app and the keys as `caller` knows them.
async fn renew_by(
    app: &App,
    caller: &Caller,
    refresh_token: &str,
    client: &Client,
) -> Result<Grant> {
    let loaded = &caller.app;
    if let Some(device) = client.device_id {
        // Before anything is told of a session, the token is known to be one of ours.
        let token = read_refresh(loaded, refresh_token)?;
        let telling = match caller.kind {
            app_key::Kind::Publishable => Telling::Holder,
            app_key::Kind::Secret | app_key::Kind::Root => Telling::Backend,
        };
        let tie = devices::tie(app, caller, token.sid, token.jid, device, telling);
        Box::pin(tie).await?;
    }
    let mut caller = Cow::Borrowed(caller);
    let (mut renewal, mut successor) = new_renewal(app, &caller, refresh_token, client)?;
    let (mut tries, mut turn) = (app.store.tries(), None);
    while tries.again() {
        let (now, session_id) = (renewal.now, renewal.session_id);
        match app.write_path.renew(renewal.clone()).await? {
            Outcome::Renewed(session) => {
                return issue(
                    &caller.app,
                    &app.master,
                    &session,
                    Some(successor),
                    now,
                    &app.rng,
                );
            }
            Outcome::Reused => {
                let app_id = renewal.app_id;
                tracing::warn!(%app_id, %session_id, "refresh token reused: session revoked");
                return Err(Refusal::Used.into());
            }
            Outcome::Refused(refusal) => return Err(refusal.into()),
            Outcome::Unconfirmed => return Err(Error::unconfirmed()),
            Outcome::Unrecognised => {
                let presented = renewal.presented;
                verify(app, &caller.app, refresh_token)
                    .inspect_err(|_| app.suspects.note(presented))?;
                Arc::make_mut(&mut renewal).is_verified = true;
            }
            Outcome::Stale { in_doubt } => {
                app.metrics.prepares_anew();
                if turn.is_none() {
                    turn = Some(app.turns.shared(&app.store, renewal.app_id).await?);
                }
                caller = Cow::Owned(Box::pin(caller.again(app)).await?);
                // Nothing that was known by the old keys is known any more, but for what may have been done by them.
                (renewal, successor) = new_renewal(app, &caller, refresh_token, client)?;
                Arc::make_mut(&mut renewal).in_doubt = in_doubt;
            }
        }
    }
    Err(Error::too_many_changes())
}

/// The renewal that the write path is asked for, and the refresh token that is to follow. That refresh token is signed before it is
/// known whether it will be handed out, so that its hash is stored with the row and the row recognises it when it is presented. A
/// presented token that anybody could have made up from an auth token is verified before that.
fn new_renewal(
    app: &App,
    caller: &Caller,
    refresh_token: &str,
    client: &Client,
) -> Result<(Arc<Renewal>, RefreshToken)> {
    let now = app.clock.now();
    let loaded = &caller.app;
    let policy = &loaded.app;
    let presented = read_refresh_unverified(loaded, &app.master, refresh_token)?;
    let token = presented.claims;
    let is_verified = !presented.is_marked || app.suspects.has(token.jid);
    if is_verified {
        verify(app, loaded, refresh_token)?;
    }
    let next = app.rng.with(|rng| TokenId::mint(now, rng));
    let (key, lifetimes) = (loaded.keyring.active(now)?, Lifetimes::of(policy));
    let expires_at = lifetimes.refresh_expires_at(now);
    let successor = new_refresh_token(loaded, &app.master, key, token.sid, next, now, expires_at)?;
    let renewal = Renewal {
        app_id: policy.id,
        epoch: loaded.epoch(),
        actor: caller.actor.clone(),
        session_id: token.sid,
        presented: token.jid,
        not_before: token.not_before(),
        expires_at: token.expires_at(),
        mac: app.master.token_mac(refresh_token),
        is_verified,
        now,
        leeway: app.config.leeway(),
        grace: policy.refresh_grace(),
        flush_count: policy.flush_count,
        next,
        key_id: key.row.id,
        lifetimes,
        next_mac: successor.mac.clone(),
        next_expires_at: successor.expires_at,
        ip: client.ip.map(|ip| ip.to_string()),
        user_agent: client.user_agent.clone(),
        in_doubt: Vec::new(),
    };
    Ok((Arc::new(renewal), successor))
}

fn verify(app: &App, loaded: &LoadedApp, refresh_token: &str) -> Result<(), Refusal> {
    app.metrics.verifies();
    read_refresh(loaded, refresh_token).map(|_| ())
}

/// What a renewal is counted as.
fn label(result: &Result<Grant>) -> &'static str {
    match result {
        Ok(_) => "renewed",
        Err(Error::RefreshToken(refusal)) => match refusal {
            Refusal::Expired => "expired",
            Refusal::NotYetValid { .. } => "not_yet_valid",
            Refusal::Used => "used",
            Refusal::Revoked => "revoked",
            Refusal::Invalid => "invalid",
        },
        Err(_) => "error",
    }
}
