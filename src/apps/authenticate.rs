//! Tells who presents a key.

use std::sync::Arc;

use entity::{AppId, PlainSecret, SecretKind, app_key};

use crate::{
    app::App,
    apps::LoadedApp,
    error::{Error, Result},
};

/// Whoever presented a good app-key.
#[derive(Clone, Debug)]
pub struct Caller {
    pub app: Arc<LoadedApp>,
    pub kind: app_key::Kind,
}

/// The caller with this key in this app. A browser, which sends its `origin`, is heard only from the app's
/// allowed origins when it presents a publishable key.
///
/// # Errors
/// When the key is not one of the app, or the origin is not allowed; those of the store.
pub async fn authenticate(
    app: &App,
    id: AppId,
    key: &PlainSecret,
    origin: Option<&str>,
) -> Result<Caller> {
    let now = app.clock.now();
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
    let kind = row.kind;
    if kind == app_key::Kind::Publishable
        && let Some(origin) = origin
        && !loaded
            .app
            .allowed_origins()
            .any(|allowed| allowed == origin)
    {
        return Err(Error::OriginNotAllowed);
    }
    Ok(Caller { app: loaded, kind })
}

/// Whether this is a root key.
///
/// # Errors
/// When it is not; those of the store.
pub async fn authenticate_root(app: &App, key: &PlainSecret) -> Result<()> {
    let now = app.clock.now();
    let keys = app.directory.root_keys(&app.store).await?;
    // A root key may be of its owner's making, and then has no id inside; there are one or two.
    if keys
        .iter()
        .any(|row| row.is_live(now) && row.hash.matches(key))
    {
        Ok(())
    } else {
        Err(Error::InvalidKey)
    }
}
