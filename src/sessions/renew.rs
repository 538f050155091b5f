//! Renews a session with its refresh token.

use std::net::IpAddr;

use entity::{TokenId, time::Span};

use crate::{
    app::App,
    apps::LoadedApp,
    error::{Refusal, Result},
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
    loaded: &LoadedApp,
    refresh_token: &str,
    client: Client,
) -> Result<Grant> {
    let result = decide(app, loaded, refresh_token, client).await;
    app.metrics.renewed(&result);
    result
}

async fn decide(
    app: &App,
    loaded: &LoadedApp,
    refresh_token: &str,
    client: Client,
) -> Result<Grant> {
    let now = app.clock.now();
    let policy = &loaded.app;
    let token = read_refresh(loaded, refresh_token)?;
    let renewal = Renewal {
        app_id: policy.id,
        session_id: token.sid,
        presented: token.jid,
        not_before: token.not_before(),
        expires_at: token.expires_at(),
        now,
        leeway: app.config.leeway(),
        grace: Span::seconds(policy.refresh_grace),
        issued_after: policy.issued_after,
        next: app.rng.with(|rng| TokenId::mint(now, rng)),
        key_id: loaded.keyring.active_id()?,
        lifetimes: Lifetimes::of(policy),
        ip: client.ip.map(|ip| ip.to_string()),
        user_agent: client.user_agent,
    };
    match app.store.renewals.renew(renewal).await? {
        Outcome::Renewed(session) => issue(loaded, &session, now, &app.rng),
        Outcome::Reused => {
            tracing::warn!(app_id = %policy.id, session_id = %token.sid, "refresh token reused: session revoked");
            Err(Refusal::Used.into())
        }
        Outcome::Refused(refusal) => Err(refusal.into()),
    }
}
