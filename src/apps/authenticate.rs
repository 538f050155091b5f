//! Tells who presents a key.

use std::{net::IpAddr, sync::Arc};

use entity::{AppId, AppKeyId, PlainSecret, SecretKind, SigningKeyId, Timestamp, app_key};

use crate::{
    app::App,
    apps::{LoadedApp, origin},
    audit::{Actor, Right, record_refusal},
    config::may_be_root_key,
    error::{Error, Result},
};

/// Whoever presented a good app-key.
#[derive(Clone, Debug)]
pub struct Caller {
    pub app: Arc<LoadedApp>,
    pub key_id: AppKeyId,
    pub kind: app_key::Kind,
    /// `Origin`, which a browser sends.
    pub origin: Option<String>,
    pub actor: Arc<Actor>,
}

/// A key as it was presented, and on which request.
#[derive(Clone, Debug)]
pub struct PresentedKey {
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
/// When the key is not one of the app, or the origin is not allowed.
pub async fn authenticate(app: &App, id: AppId, presented: PresentedKey) -> Result<Caller> {
    let now = app.clock.now();
    let key = &presented.key;
    // Garbage, and keys of another kind, do not reach the store.
    let (kind, key_id) = key.parse().ok_or(Error::InvalidKey)?;
    if kind == SecretKind::Root {
        return Err(Error::InvalidKey);
    }
    let mut loaded = app.load(id).await?.ok_or(Error::InvalidKey)?;
    if !loaded.has_key(key_id) {
        // Another process may have made it a moment ago.
        let newer = Box::pin(app.load_newer(&loaded, key_id.minted_at())).await?;
        loaded = newer.ok_or(Error::InvalidKey)?;
    }
    let mut rows = loaded.keys.iter();
    if !rows.any(|row| row.id == key_id && row.hash.matches(key)) {
        return Err(Error::InvalidKey);
    }
    let kind = admit(&loaded, key_id, presented.origin.as_deref(), now)?;
    app.usage.note(key_id, now);
    let actor = Actor::app_key(key_id, id, loaded.epoch());
    let actor = actor.on(presented.request_id, presented.ip);
    Ok(Caller {
        app: loaded,
        key_id,
        kind,
        origin: presented.origin,
        actor: Arc::new(actor),
    })
}

/// The kind of this key, if it may be used of the app as it was loaded.
fn admit(
    loaded: &LoadedApp,
    key_id: AppKeyId,
    origin: Option<&str>,
    now: Timestamp,
) -> Result<app_key::Kind> {
    let row = loaded.keys.iter().find(|row| row.id == key_id);
    let row = row
        .filter(|row| row.is_live(now))
        .ok_or(Error::InvalidKey)?;
    if row.kind == app_key::Kind::Publishable
        && let Some(origin) = origin
        && !origin::is_allowed(&loaded.app, origin)
    {
        return Err(Error::OriginNotAllowed);
    }
    Ok(row.kind)
}

impl Caller {
    /// The same caller, authenticated again by the app as it is now, after somebody changed it.
    ///
    /// # Errors
    /// When the key, or its origin, is not good any more.
    pub async fn again(&self, app: &App) -> Result<Self> {
        self.by(app, app.reload(&self.app).await?)
    }

    /// The same caller, authenticated again by the app as it is now, if this signing key is unknown in the app as it was, and
    /// may have been made at another process a moment ago.
    ///
    /// # Errors
    /// When the key, or its origin, is not good any more.
    pub async fn again_for_key(&self, app: &App, key: SigningKeyId) -> Result<Option<Self>> {
        let newer = app.load_for_key(&self.app, key).await?;
        newer.map(|newer| self.by(app, newer)).transpose()
    }

    fn by(&self, app: &App, loaded: Arc<LoadedApp>) -> Result<Self> {
        let kind = admit(
            &loaded,
            self.key_id,
            self.origin.as_deref(),
            app.clock.now(),
        )?;
        let right = Right::AppKey {
            app_id: loaded.app.id,
            epoch: loaded.epoch(),
        };
        let actor = (*self.actor).clone().by(right);
        Ok(Self {
            app: loaded,
            key_id: self.key_id,
            kind,
            origin: self.origin.clone(),
            actor: Arc::new(actor),
        })
    }
}

/// Whoever presents this root key. That it is none is recorded.
///
/// # Errors
/// When it is none.
pub async fn authenticate_root(app: &App, presented: PresentedKey) -> Result<Actor> {
    let found = find_root(app, &presented.key).await?;
    let (request_id, ip) = (presented.request_id, presented.ip);
    match found {
        Some(id) => Ok(Actor::root_key(id).on(request_id, ip)),
        None => {
            record_refusal(app, Actor::anonymous().on(request_id, ip)).await;
            Err(Error::InvalidKey)
        }
    }
}

async fn find_root(app: &App, key: &PlainSecret) -> Result<Option<AppKeyId>> {
    // Garbage does not reach the store, which may be silent.
    if !may_be_root_key(key.reveal()) {
        return Ok(None);
    }
    let now = app.clock.now();
    let load = async || {
        app.directory.freshen(&app.store).await?;
        app.directory.root_keys(&app.store).await
    };
    // A root key may be of its owner's making, and then has no id inside; there are one or two.
    let find = |keys: &[app_key::Model]| {
        let mut live = keys.iter().filter(|row| row.is_live(now));
        live.find(|row| row.hash.matches(key)).map(|row| row.id)
    };
    let keys = Box::pin(app.retry(load)).await?;
    let mut found = find(&keys);
    if found.is_none()
        && let Some((SecretKind::Root, id)) = key.parse()
        && keys.iter().all(|row| row.id != id)
        && let Some(newer) = Box::pin(app.newer_root_keys(id.minted_at())).await?
    {
        found = find(&newer);
    }
    if let Some(id) = found {
        app.usage.note(id, now);
    }
    Ok(found)
}
