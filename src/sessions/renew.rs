//! Renews a session with its refresh token.

use std::{net::IpAddr, sync::Arc};

use entity::{TokenId, time::Span};

use crate::{
    app::App,
    apps::{ATTEMPTS, Caller, LoadedApp},
    audit::Actor,
    error::{Error, Refusal, Result},
    sessions::{
        renewal::{Outcome, Renewal},
        tokens::{Grant, Lifetimes, issue, read_refresh},
    },
};

/// Where a refresh token came from; what is not known stays as it was.
#[derive(Clone, Debug, Default)]
pub struct Client {
    pub ip: Option<IpAddr>,
    pub user_agent: Option<String>,
}

/// Renews the session of `refresh_token`: of any number that present it at once, one wins.
///
/// # Errors
/// A [`Refusal`] when the token does not renew; for [`Refusal::Used`] the session is revoked by then.
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
    for _ in 0..ATTEMPTS {
        let renewal = prepare(app, &loaded, &caller.actor, refresh_token, &client)?;
        let (now, session_id) = (renewal.now, renewal.session_id);
        match app.store.renewals.renew(renewal).await? {
            Outcome::Renewed(session) => return issue(&loaded, &session, now, &app.rng),
            Outcome::Reused => {
                let app_id = loaded.app.id;
                tracing::warn!(%app_id, %session_id, "refresh token reused: session revoked");
                return Err(Refusal::Used.into());
            }
            Outcome::Refused(refusal) => return Err(refusal.into()),
            Outcome::Unconfirmed => return Err(Error::unconfirmed()),
            Outcome::Stale => loaded = app.reload(loaded.app.id).await?,
        }
    }
    Err(Error::too_many_changes())
}

fn prepare(
    app: &App,
    loaded: &LoadedApp,
    actor: &Arc<Actor>,
    refresh_token: &str,
    client: &Client,
) -> Result<Renewal> {
    let now = app.clock.now();
    let policy = &loaded.app;
    let token = read_refresh(loaded, refresh_token)?;
    Ok(Renewal {
        app_id: policy.id,
        epoch: loaded.epoch,
        actor: actor.clone(),
        session_id: token.sid,
        presented: token.jid,
        not_before: token.not_before(),
        expires_at: token.expires_at(),
        now,
        leeway: app.config.leeway(),
        grace: Span::seconds(policy.refresh_grace),
        flush_count: policy.flush_count,
        next: app.rng.with(|rng| TokenId::mint(now, rng)),
        key_id: loaded.keyring.active(now)?.row.id,
        lifetimes: Lifetimes::of(policy),
        ip: client.ip.map(|ip| ip.to_string()),
        user_agent: client.user_agent.clone(),
        in_doubt: false,
    })
}
