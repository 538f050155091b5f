//! Begins a session.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use crate::{
    app::App,
    apps::{Caller, LoadedApp},
    devices,
    error::{Error, Result},
    sessions::{
        claims::Claims,
        lifetimes::Lifetimes,
        list::renewable,
        tokens::{Grant, RefreshToken, issue, new_refresh_token},
        work::{Beginning, Begun},
    },
};
use entity::{
    DeviceId, SessionId, TokenId, device,
    session::{self, Revocation, Target},
    time::Span,
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

/// A session that is stored, and not handed out yet.
struct Stored {
    loaded: Arc<LoadedApp>,
    session: session::Model,
    refresh_token: RefreshToken,
}

/// Begins the session and signs its first tokens. Past the app's limit, the subject's oldest sessions end.
///
/// # Errors
/// When the subject is one that a registered device could have, or no session may begin on the device.
pub async fn sign(app: &App, caller: &Caller, new: NewSession) -> Result<Grant> {
    if device::is_device(&new.sub) {
        let message = "must not begin with device:, as those of registered devices do";
        return Err(Error::invalid("sub", message));
    }
    if let Some(id) = new.device_id {
        Box::pin(devices::check(app, caller.app.app.id, id)).await?;
    }
    let same = |_: &LoadedApp| Ok(Cow::Borrowed(&new));
    let begun = store(app, &caller.app, Some(caller), same).await?;
    if begun.session.device_id.is_some() {
        Box::pin(devices::admit(app, &begun.session)).await?;
    }
    finish(app, begun).await
}

/// The same for a device that has shown otherwise than by a key that its session may begin. `new` tells which session, by the app
/// as it is when that begins.
///
/// # Errors
/// Those of `new`.
pub async fn begin(
    app: &App,
    loaded: &Arc<LoadedApp>,
    new: impl Fn(&LoadedApp) -> Result<NewSession>,
) -> Result<Grant> {
    let owned = |loaded: &LoadedApp| new(loaded).map(Cow::Owned);
    let begun = store(app, loaded, None, owned).await?;
    finish(app, begun).await
}

async fn finish(app: &App, begun: Stored) -> Result<Grant> {
    let Stored {
        loaded,
        session,
        refresh_token,
    } = begun;
    if let Some(limit) = loaded.app.max_sessions_per_subject {
        app.retry(|| end_oldest(app, &loaded, &session, limit))
            .await?;
    }
    let (refresh_token, issued_at) = (Some(refresh_token), session.issued_at);
    let master = &app.master;
    match issue(
        &loaded,
        master,
        &session,
        refresh_token,
        issued_at,
        &app.rng,
    ) {
        // Its commit was in doubt, and it is dead by now. Nobody has it.
        Err(Error::RefreshToken(_)) => Err(Error::too_many_changes()),
        issued => issued,
    }
}

/// Stores the session by the right of `caller`, or, without one, of what was shown before.
async fn store<'a>(
    app: &App,
    loaded: &Arc<LoadedApp>,
    caller: Option<&Caller>,
    new: impl Fn(&LoadedApp) -> Result<Cow<'a, NewSession>>,
) -> Result<Stored> {
    let (mut loaded, mut caller) = (loaded.clone(), caller.cloned());
    // The same for each attempt: of those whose commits are in doubt, one is stored at most.
    let id = app.minted.next(app.clock.now(), &app.rng);
    let mut in_doubt = false;
    let (mut tries, mut turn) = (app.store.tries(), None);
    while tries.again() {
        let (session, refresh_token) = new_row(app, &loaded, id, &*new(&loaded)?)?;
        let beginning = Beginning {
            session: Box::new(session.clone()),
            epoch: loaded.epoch(),
            in_doubt,
        };
        let session = match app.write_path.begin(beginning).await? {
            Begun::Stored => session,
            Begun::Earlier(stored) => *stored,
            Begun::Stale { in_doubt: doubt } => {
                in_doubt = doubt;
                if turn.is_none() {
                    turn = Some(app.turns.shared(&app.store, loaded.app.id).await?);
                }
                if let Some(before) = &caller {
                    let again = Box::pin(before.again(app)).await?;
                    loaded = again.app.clone();
                    caller = Some(again);
                } else {
                    loaded = app.reload(&loaded).await?;
                }
                continue;
            }
        };
        return Ok(Stored {
            loaded,
            session,
            refresh_token,
        });
    }
    Err(Error::too_many_changes())
}

/// The row of the session, and its first refresh token.
fn new_row(
    app: &App,
    loaded: &LoadedApp,
    id: SessionId,
    new: &NewSession,
) -> Result<(session::Model, RefreshToken)> {
    let now = app.clock.now();
    let policy = &loaded.app;
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
    let refresh_token = new_refresh_token(loaded, &app.master, key, id, token_id, now, end)?;
    session.refresh_mac = Some(refresh_token.mac.clone());
    Ok((session, refresh_token))
}

/// Ends the subject's oldest sessions past `limit`. After the new one is there for all to see, not together with it: of two
/// that begin at once, at least one sees both.
async fn end_oldest(app: &App, loaded: &LoadedApp, new: &session::Model, limit: i64) -> Result<()> {
    let now = app.clock.now();
    let keep = u64::try_from(limit).unwrap_or(0);
    let (id, flush_count) = (loaded.app.id, loaded.app.flush_count);
    let transaction = app.store.begin().await?;
    let live = renewable(&loaded.app, &loaded.keyring, &new.sub, now);
    for oldest in session::oldest_beyond(&transaction, live, keep).await? {
        let (target, reason) = (Target::Session(oldest), Revocation::Limit);
        session::revoke_in(&transaction, id, flush_count, &target, reason, now).await?;
    }
    Ok(app.store.commit(transaction).await?)
}
