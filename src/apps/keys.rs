//! App-keys: made, listed, replaced, revoked.

use entity::{AppId, AppKeyId, PlainSecret, SecretKind, Timestamp, app, app_key, time::Span};
use sea_orm::ConnectionTrait;

use crate::{
    app::App,
    apps::Revision,
    audit::{Action, Actor, Event},
    error::{Error, Result, Violation},
    page::Listing,
};

/// For how long a replaced app-key still works, unless something else is asked for: a day to roll out the new
/// one.
pub const DEFAULT_OVERLAP: i64 = 86_400;
/// The longest that may be asked for: 30 days.
pub const MAX_OVERLAP: i64 = 30 * 86_400;

/// Live app-keys of an app, but for those of its applications. All are read whenever the app has changed: a hundred take a
/// fraction of a millisecond, and are more than an app has backends and front ends.
pub const MOST: u64 = 100;
/// Live keys of the applications of an app. They are read with its other keys: a thousand take some milliseconds. Most applications
/// have one each.
pub const MOST_OF_APPLICATIONS: u64 = 1000;
/// Keys of an app that somebody has ended, which are listed for 90 days, but no more of them than this: however often keys are
/// replaced, what there is to read does not grow.
const KEPT: u64 = 100;

/// A key that is to be made.
#[derive(Clone, Debug)]
pub struct NewAppKey {
    pub kind: SecretKind,
    /// What people call it; empty for the app's main key.
    pub name: String,
    /// Seconds until it ends by itself.
    pub expires_in: Option<i64>,
    /// The application that holds it, if it is one: stays with that over all keys.
    pub application_id: Option<String>,
}

/// A key that was made. The secret is shown this once.
#[derive(Debug)]
pub struct MadeKey {
    pub secret: PlainSecret,
    pub row: app_key::Model,
}

impl NewAppKey {
    /// The app's main key of this kind.
    pub fn main(kind: SecretKind) -> Self {
        Self {
            kind,
            name: String::new(),
            expires_in: None,
            application_id: None,
        }
    }

    /// Draws the secret. Nothing is stored yet.
    ///
    /// # Errors
    /// With every rule that it breaks.
    pub fn draw(self, app: &App, app_id: AppId, now: Timestamp) -> Result<MadeKey> {
        let mut violations = Vec::new();
        if self.name.chars().count() > 100 || self.name.chars().any(char::is_control) {
            let message = "must have at most 100 characters, none of them a control character";
            violations.push(Violation::new("name", message));
        }
        if self
            .expires_in
            .is_some_and(|seconds| !(60..=315_360_000).contains(&seconds))
        {
            violations.push(Violation::new(
                "expires_in",
                "must be 60 to 315360000 seconds",
            ));
        }
        if !violations.is_empty() {
            return Err(Error::Invalid(violations));
        }
        let (id, secret) = app.rng.with(|rng| {
            let id = AppKeyId::mint(now, rng);
            (id, PlainSecret::generate(self.kind, id, rng))
        });
        let row = app_key::Model {
            id,
            app_id: Some(app_id),
            kind: self.kind.into(),
            name: self.name,
            hash: secret.hash(),
            created_at: now,
            expires_at: self.expires_in.map(|seconds| now + Span::seconds(seconds)),
            last_used_at: None,
            revoked_at: None,
            replaced_at: None,
            application_id: self.application_id,
        };
        Ok(MadeKey { secret, row })
    }
}

/// Makes a further key of the app.
///
/// # Errors
/// When there is no such app, or it has as many keys as it may have, or with every rule that the key breaks.
pub async fn create(app: &App, actor: &Actor, id: AppId, new: NewAppKey) -> Result<MadeKey> {
    let make = async || {
        let made = new.clone().draw(app, id, app.clock.now())?;
        let revision = Revision::begin(app, actor, id).await?;
        hand_out(revision, id, made, Action::AppKeyCreate).await
    };
    app.retry(make).await
}

/// Replaces the app's main key of this kind by a new one. The old one works for `overlap` seconds more. Without an overlap
/// something has leaked: with the secret key the keys of all applications end, which are registered anew.
///
/// # Errors
/// When there is no such app, or it has as many keys as it may have, or the overlap is too long.
pub async fn rotate(
    app: &App,
    actor: &Actor,
    id: AppId,
    kind: SecretKind,
    overlap: i64,
) -> Result<MadeKey> {
    let replace_main = async || {
        let now = app.clock.now();
        let end = overlap_end(now, overlap)?;
        let made = NewAppKey::main(kind).draw(app, id, now)?;
        let revision = Revision::begin(app, actor, id).await?;
        app_key::end_main_at(&revision.db, id, kind.into(), now, end).await?;
        if kind == SecretKind::Secret && overlap == 0 {
            app_key::revoke_applications(&revision.db, id, now).await?;
        }
        hand_out(revision, id, made, Action::AppKeyRotate).await
    };
    app.retry(replace_main).await
}

/// Replaces the current key of an application by a new one, once. The old one works for `overlap` seconds more, if it does not
/// end before; no other key of the application does.
///
/// # Errors
/// When the key is not live, or is replaced already, or the overlap is too long.
pub async fn replace(
    app: &App,
    actor: &Actor,
    id: AppId,
    old: &app_key::Model,
    overlap: i64,
    expires_in: Option<i64>,
) -> Result<MadeKey> {
    let now = app.clock.now();
    let end = overlap_end(now, overlap)?;
    let new = NewAppKey {
        kind: SecretKind::Secret,
        name: old.name.clone(),
        expires_in,
        application_id: old.application_id.clone(),
    };
    let replace_one = async || {
        let made = new.clone().draw(app, id, now)?;
        let revision = Revision::begin(app, actor, id).await?;
        // The guard: of two that replace one key at once, one wins.
        if !app_key::replace(&revision.db, old, now, end).await? {
            return Err(Error::InvalidKey);
        }
        hand_out(revision, id, made, Action::AppKeyRotate).await
    };
    app.retry(replace_one).await
}

/// Ends a key of the app at once; with a key of an application all of its keys, whichever it is: whoever had one may have
/// made the others.
///
/// # Errors
/// When there is no such key, or it is revoked already.
pub async fn revoke(app: &App, actor: &Actor, id: AppId, key: AppKeyId) -> Result<()> {
    let end = async || {
        let revision = Revision::begin(app, actor, id).await?;
        if !app_key::revoke_in(&revision.db, id, key, revision.now).await? {
            return Err(Error::NotFound("app-key"));
        }
        let event = Event::of(Action::AppKeyRevoke, id, key);
        revision.commit([event]).await
    };
    app.retry(end).await
}

/// The keys of the app, the newest first, at most `limit` of them.
///
/// # Errors
/// When there is no such app.
pub async fn list(
    app: &App,
    id: AppId,
    before: Option<AppKeyId>,
    limit: u64,
) -> Result<Listing<app_key::Model, AppKeyId>> {
    let read = async || {
        require(&app.store.reader, id).await?;
        let rows = app_key::page_in(&app.store.reader, id, before, limit + 1).await?;
        Ok(Listing::cut(rows, limit, |key| key.id))
    };
    app.retry(read).await
}

/// When a replaced key ends.
///
/// # Errors
/// When that is too far away.
pub fn overlap_end(now: Timestamp, overlap: i64) -> Result<Timestamp> {
    if (0..=MAX_OVERLAP).contains(&overlap) {
        Ok(now + Span::seconds(overlap))
    } else {
        Err(Error::invalid("overlap", "must be 0 to 2592000 seconds"))
    }
}

async fn require(db: &impl ConnectionTrait, id: AppId) -> Result<()> {
    let found = app::find(db, id).await?;
    found.map(|_| ()).ok_or(Error::NotFound("app"))
}

/// Stores the key, and gives it to who asked for it.
async fn hand_out(
    revision: Revision<'_>,
    app_id: AppId,
    made: MadeKey,
    action: Action,
) -> Result<MadeKey> {
    let (db, now) = (&revision.db, revision.now);
    entity::insert(db, made.row.clone()).await?;
    let of_applications = made.row.application_id.is_some();
    let live = app_key::count_live_in(db, app_id, of_applications, now).await?;
    if of_applications && live > MOST_OF_APPLICATIONS {
        return Err(Error::TooMany(
            "The app has 1000 live registration tokens, which is the most. Revoke those that are no longer used.",
        ));
    }
    if !of_applications && live > MOST {
        return Err(Error::TooMany(
            "The app has 100 live app-keys, which is the most. Revoke those that are no longer used, or ask for no overlap.",
        ));
    }
    app_key::trim_ended_in(db, app_id, KEPT, MOST_OF_APPLICATIONS, now).await?;
    let event = Event::of(action, app_id, made.row.id);
    revision.commit([event]).await?;
    Ok(made)
}
