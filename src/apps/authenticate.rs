//! Tells who presents a key.

use std::{net::IpAddr, sync::Arc};

use entity::{AppId, AppKeyId, PlainSecret, SecretKind, app_key};

use crate::{
    app::App,
    apps::LoadedApp,
    audit::Actor,
    error::{Error, Result},
};

/// Whoever presented a good app-key.
#[derive(Clone, Debug)]
pub struct Caller {
    pub app: Arc<LoadedApp>,
    pub key_id: AppKeyId,
    pub kind: app_key::Kind,
    pub actor: Arc<Actor>,
}

/// A key as it was presented, and on which request.
#[derive(Clone, Debug)]
pub struct Presented {
    pub key: PlainSecret,
    /// `Origin`, which a browser sends.
    pub origin: Option<String>,
    pub request_id: Option<String>,
    /// Of the connection, or the one that a trusted proxy forwarded.
    pub ip: Option<IpAddr>,
}

/// The caller with this key in this app. A browser, which sends its origin, is heard only from the app's allowed
/// origins when it presents a publishable key.
///
/// # Errors
/// When the key is not one of the app, or the origin is not allowed; those of the store.
pub async fn authenticate(app: &App, id: AppId, presented: Presented) -> Result<Caller> {
    let now = app.clock.now();
    let key = &presented.key;
    // Garbage, and keys of another kind, do not reach the store.
    let (kind, key_id) = key.parse().ok_or(Error::InvalidKey)?;
    if kind == SecretKind::Root {
        return Err(Error::InvalidKey);
    }
    let loaded = app.load(id).await?.ok_or(Error::InvalidKey)?;
    let row = loaded
        .keys
        .iter()
        .find(|row| row.id == key_id && row.hash.matches(key) && row.is_live(now))
        .ok_or(Error::InvalidKey)?;
    let (key_id, kind) = (row.id, row.kind);
    if kind == app_key::Kind::Publishable
        && let Some(origin) = &presented.origin
        && !loaded
            .app
            .allowed_origins()
            .any(|allowed| allowed == origin)
    {
        return Err(Error::OriginNotAllowed);
    }
    app.usage.note(key_id, now);
    let actor = Actor::key(key_id).on(presented.request_id, presented.ip);
    Ok(Caller {
        app: loaded,
        key_id,
        kind,
        actor: Arc::new(actor),
    })
}

/// Whoever presents this root key.
///
/// # Errors
/// When it is none; those of the store.
pub async fn authenticate_root(app: &App, presented: Presented) -> Result<Actor> {
    let now = app.clock.now();
    let load = || app.directory.root_keys(&app.store);
    let keys = Box::pin(app.store.retry(load)).await?;
    // A root key may be of its owner's making, and then has no id inside; there are one or two.
    let found = keys
        .iter()
        .find(|row| row.is_live(now) && row.hash.matches(&presented.key));
    let id = found.map(|row| row.id).ok_or(Error::InvalidKey)?;
    app.usage.note(id, now);
    Ok(Actor::key(id).on(presented.request_id, presented.ip))
}
