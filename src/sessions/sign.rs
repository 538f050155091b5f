//! Begins a session.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    app::App,
    apps::{ATTEMPTS, Caller, LoadedApp},
    clock::Rng,
    devices,
    error::{Error, Result},
    sessions::{
        claims::Claims,
        list::renewable,
        tokens::{Grant, Lifetimes, Prepared, issue, prepare_refresh},
    },
};
use entity::{
    DeviceId, SessionId, Timestamp, TokenId,
    session::{self, Revocation, Target},
    time::Span,
};

/// The id of the session that began last in this process: those of one millisecond are in their order, too.
#[derive(Debug, Default)]
pub struct Minted(Mutex<Option<SessionId>>);

impl Minted {
    fn next(&self, now: Timestamp, rng: &Rng) -> SessionId {
        let minted = rng.with(|rng| SessionId::mint(now, rng));
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match *last {
            Some(last) if last >= minted && last.minted_at() == minted.minted_at() => last.next(),
            _ => minted,
        };
        *last = Some(next);
        next
    }
}

/// A session that is to begin.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub sub: String,
    pub ip: IpAddr,
    pub user_agent: String,
    pub device_id: Option<DeviceId>,
    pub claims: Claims,
}

/// A session that is stored, and not handed out yet.
struct Begun {
    loaded: Arc<LoadedApp>,
    session: session::Model,
    prepared: Prepared,
}

/// Begins the session and signs its first tokens. Past the app's limit, the subject's oldest sessions end.
///
/// # Errors
/// When no session may begin on the device; those of the store.
pub async fn sign(app: &App, caller: &Caller, new: NewSession) -> Result<Grant> {
    if let Some(device) = new.device_id {
        Box::pin(devices::check(app, caller.app.app.id, device)).await?;
    }
    let begun = store(app, &caller.app, &new).await?;
    if begun.session.device_id.is_some() {
        Box::pin(devices::admit(app, &begun.session)).await?;
    }
    finish(app, begun).await
}

/// The same for a device that has shown otherwise than by a key that its session may begin.
///
/// # Errors
/// Those of the store.
pub async fn begin(app: &App, loaded: &Arc<LoadedApp>, new: NewSession) -> Result<Grant> {
    let begun = store(app, loaded, &new).await?;
    finish(app, begun).await
}

async fn finish(app: &App, begun: Begun) -> Result<Grant> {
    let Begun {
        loaded,
        session,
        prepared,
    } = begun;
    if let Some(limit) = loaded.app.max_sessions_per_subject {
        app.store
            .retry(|| end_oldest(app, &loaded, &session, limit))
            .await?;
    }
    issue(
        &loaded,
        &session,
        Some(prepared),
        session.issued_at,
        &app.rng,
    )
}

async fn store(app: &App, loaded: &Arc<LoadedApp>, new: &NewSession) -> Result<Begun> {
    let mut loaded = loaded.clone();
    for _ in 0..ATTEMPTS {
        if let Some((session, prepared)) = attempt(app, &loaded, new).await? {
            return Ok(Begun {
                loaded,
                session,
                prepared,
            });
        }
        loaded = app.reload(loaded.app.id).await?;
    }
    Err(Error::too_many_changes())
}

/// `None` when apps or keys were changed since `loaded` was read: the session could be dead when it begins.
async fn attempt(
    app: &App,
    loaded: &LoadedApp,
    new: &NewSession,
) -> Result<Option<(session::Model, Prepared)>> {
    let now = app.clock.now();
    let policy = &loaded.app;
    let id = app.minted.next(now, &app.rng);
    let token_id = app.rng.with(|rng| TokenId::mint(now, rng));
    let key = loaded.keyring.active(now)?;
    let mut session = session::Model {
        id,
        app_id: policy.id,
        sub: new.sub.clone(),
        claims: new.claims.to_json(),
        ip: new.ip.to_string(),
        user_agent: new.user_agent.clone(),
        device_id: new.device_id,
        token_id,
        key_id: key.row.id,
        parent_id: None,
        parent_until: None,
        generation: session::FIRST_GENERATION,
        flush_count: policy.flush_count,
        issued_at: now,
        auth_not_before: now,
        auth_expires_at: now,
        not_before: now,
        expires_at: now,
        purge_at: now,
        refresh_mac: None,
        ends_at: policy
            .session_expiry
            .map(|seconds| now.floor_to_second() + Span::seconds(seconds)),
        revoked_at: None,
        revoked_for: None,
    };
    Lifetimes::of(policy).apply(&mut session, now);
    let end = session.expires_at;
    let prepared = prepare_refresh(loaded, &app.master, key, id, token_id, now, end)?;
    session.refresh_mac = Some(prepared.mac.clone());

    let begun = app.store.sessions.begin(session.clone(), loaded.epoch);
    Ok(begun.await?.then_some((session, prepared)))
}

/// Ends the subject's oldest sessions past `limit`. After the new one is there for all to see, not together with it: of two
/// that begin at once, at least one sees both.
async fn end_oldest(app: &App, loaded: &LoadedApp, new: &session::Model, limit: i64) -> Result<()> {
    let now = app.clock.now();
    let keep = u64::try_from(limit).unwrap_or(0);
    let transaction = app.store.begin().await?;
    let live = renewable(loaded, &new.sub, now);
    for oldest in session::oldest_beyond(&transaction, live, keep).await? {
        let (id, target) = (loaded.app.id, Target::Session(oldest));
        session::revoke_in(&transaction, id, &target, Revocation::Limit, now).await?;
    }
    Ok(app.store.commit(transaction).await?)
}
