//! Begins a session.

use std::net::IpAddr;

use entity::{
    DeviceId, SessionId, TokenId,
    session::{self, Revocation, Target},
    setting,
    time::Span,
};
use sea_orm::{ActiveModelTrait, IntoActiveModel};

use crate::{
    app::App,
    apps::{ATTEMPTS, Caller, LoadedApp},
    error::{Error, Result},
    sessions::{
        claims::Claims,
        list::renewable,
        tokens::{Grant, Lifetimes, issue},
    },
};

/// A session that is to begin.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub sub: String,
    pub ip: IpAddr,
    pub user_agent: String,
    pub device_id: Option<DeviceId>,
    pub claims: Claims,
}

/// Begins the session and signs its first tokens. Past the app's limit, the subject's oldest sessions end.
///
/// # Errors
/// Those of the store.
pub async fn sign(app: &App, caller: &Caller, new: NewSession) -> Result<Grant> {
    let mut loaded = caller.app.clone();
    for _ in 0..ATTEMPTS {
        if let Some(grant) = attempt(app, &loaded, &new).await? {
            return Ok(grant);
        }
        loaded = app.reload(loaded.app.id).await?;
    }
    Err(Error::too_many_changes())
}

/// `None` when apps or keys were changed since `loaded` was read: the session could be dead when it begins.
async fn attempt(app: &App, loaded: &LoadedApp, new: &NewSession) -> Result<Option<Grant>> {
    let now = app.clock.now();
    let policy = &loaded.app;
    let (id, token_id) = app
        .rng
        .with(|rng| (SessionId::mint(now, rng), TokenId::mint(now, rng)));
    let mut session = session::Model {
        id,
        app_id: policy.id,
        sub: new.sub.clone(),
        claims: new.claims.to_json(),
        ip: new.ip.to_string(),
        user_agent: new.user_agent.clone(),
        device_id: new.device_id,
        token_id,
        key_id: loaded.keyring.active(now)?.row.id,
        parent_id: None,
        parent_until: None,
        generation: 0,
        flush_count: policy.flush_count,
        issued_at: now,
        auth_not_before: now,
        auth_expires_at: now,
        not_before: now,
        expires_at: now,
        ends_at: policy
            .session_expiry
            .map(|seconds| now.floor_to_second() + Span::seconds(seconds)),
        revoked_at: None,
        revoked_for: None,
    };
    Lifetimes::of(policy).apply(&mut session, now);

    let transaction = app.store.begin().await?;
    if setting::epoch(&transaction).await? != loaded.epoch {
        return Ok(None);
    }
    if let Some(limit) = policy.max_sessions_per_subject {
        let live = renewable(loaded, &session.sub, now);
        let keep = u64::try_from(limit - 1).unwrap_or(0);
        for oldest in session::oldest_beyond(&transaction, live, keep).await? {
            let target = Target::Session(oldest);
            session::revoke_in(&transaction, policy.id, &target, Revocation::Limit, now).await?;
        }
    }
    let session = session.into_active_model().insert(&transaction).await?;
    transaction.commit().await?;
    issue(loaded, &session, now, &app.rng).map(Some)
}
