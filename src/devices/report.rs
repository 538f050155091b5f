//! A user who is signed in reports the push token of the device.

use std::borrow::Cow;

use entity::{
    DeviceId, PlainSecret, Timestamp, TokenId, app,
    device::{self, Marks, Name},
    session,
};
use sea_orm::ConnectionTrait;

use super::{
    identify::{Found, Report, identify},
    merge::{Held, merge},
    push_token::PushToken,
    rows::{commit, known, raced, seen},
};
use crate::{
    app::App,
    error::{Error, Result},
    master,
    sessions::{Bearer, Claims, issue_auth},
};

/// Registers the device under the user of the auth token, ties the session to the device, and signs a further auth token of the
/// session, which keeps its refresh token. The further auth token expires when the presented one does: to get a longer life, a
/// client has to show the refresh token. `allow` says whether the app, as it is at this time, allows the report.
///
/// `claims` tell of the device and its push token: the session has them from then on.
///
/// A name is looked for among the devices of this user only. A session that is on another device stays on that one.
///
/// # Errors
/// [`Error::InvalidToken`] when the token is not good any more; when the device is disabled, or one of too many of the user that
/// were not known; those of `allow`.
pub async fn report(
    app: &App,
    bearer: &Bearer,
    client_id: &str,
    push_token: &PlainSecret,
    claims: [(&str, &str); 2],
    allow: impl Fn(&app::Model) -> Result<()>,
) -> Result<String> {
    let mut bearer = Cow::Borrowed(bearer);
    let (mut tries, mut turn) = (app.store.tries(), None);
    while tries.again() {
        allow(&bearer.app.app)?;
        let write = || write(app, &bearer, client_id, push_token, claims);
        match app.retry(write).await {
            Err(Error::Stale) => {
                if turn.is_none() {
                    turn = Some(app.turns.shared(&app.store, bearer.app.app.id).await?);
                }
                bearer = Cow::Owned(bearer.again(app).await?);
            }
            told => return sign(app, &bearer, &told?),
        }
    }
    Err(Error::too_many_changes())
}

fn sign(app: &App, bearer: &Bearer, session: &session::Model) -> Result<String> {
    let now = app.clock.now();
    let jid = app.rng.with(|rng| TokenId::mint(now, rng));
    match issue_auth(&bearer.app, session, jid, now, bearer.expires_at) {
        Err(Error::RefreshToken(_)) => Err(Error::InvalidToken),
        issued => issued,
    }
}

/// [`Error::Stale`] when the app was changed since the token was verified: a flush, or the revocation of its key, may be unknown
/// here.
async fn write(
    app: &App,
    bearer: &Bearer,
    client_id: &str,
    push_token: &PlainSecret,
    claims: [(&str, &str); 2],
) -> Result<session::Model> {
    let (now, app_id) = (app.clock.now(), bearer.app.app.id);
    let transaction = app.store.begin().await?;
    let epochs = app::epochs(&transaction, &[app_id]).await?;
    if epochs.get(&app_id) != Some(&bearer.app.epoch()) {
        return Err(Error::Stale);
    }
    let mut session = session::find_in(&transaction, app_id, bearer.session_id)
        .await?
        .filter(|session| !session.is_revoked())
        .ok_or(Error::InvalidToken)?;
    let token = PushToken::new(app, &transaction, app_id, push_token).await?;
    let named = named(app, &transaction, &session, client_id, &token, now).await?;
    if named.device.is_disabled() {
        return Err(Error::DeviceDisabled);
    }
    let claims = Claims::set(&session.claims, claims)?.to_json();
    let mut is_written = session::replace_claims(&transaction, &session, claims.clone()).await?;
    if !named.is_tied {
        let id = named.device.id;
        is_written &= session::tie(&transaction, app_id, session.id, id).await?;
    }
    if !is_written {
        return Err(Error::Contended("the session was changed meanwhile"));
    }
    commit(app, transaction).await?;
    if named.is_new {
        app.quota.count_own(app_id, &session.sub);
    }
    session.claims = claims;
    Ok(session)
}

/// The device that was named.
struct Named {
    device: device::Model,
    is_new: bool,
    /// Whether the session is on a device already, this one or another.
    is_tied: bool,
}

/// Finds the device that the user of the session calls `client_id`, or registers it, and gives it the push token: afterwards no
/// other device of the app has the push token. Nobody else changes the row until the transaction ends.
async fn named(
    app: &App,
    db: &impl ConnectionTrait,
    session: &session::Model,
    client_id: &str,
    token: &PushToken<'_>,
    now: Timestamp,
) -> Result<Named> {
    let (app_id, sub) = (session.app_id, session.sub.as_str());
    let name = Name { sub, client_id };
    let report = Report {
        name,
        session_device: session.device_id,
    };
    let marks = Marks {
        id: report.session_device,
        name: Some(name),
        push_tokens: &token.macs,
    };
    let mut found = Vec::new();
    for row in known(db, app_id, marks).await? {
        found.push(Found::new(Held::read(db, row, now).await?, token));
    }
    let is_tied = found
        .iter()
        .any(|found| session.device_id == Some(found.held.row.id));
    let identified = identify(report, found);
    for mut loser in identified.losers {
        loser.drop_push_token();
        entity::replace(db, loser).await?;
    }
    let mut read = identified.device;
    for part in identified.parts {
        if let Some(device) = read.take() {
            read = Some(merge(db, part, device).await?);
        }
    }
    let is_new = read.is_none();
    if is_new {
        app.quota.check_own(app_id, sub, now)?;
    }
    let mut row = read.clone().unwrap_or_else(|| {
        let id = app.rng.with(|rng| DeviceId::mint(now, rng));
        device::Model::new(id, app_id, now)
    });
    row.client_id = Some(client_id.to_owned());
    row.sub = Some(sub.to_owned());
    row.last_seen_at = seen(&row, now);
    token.give(app, &mut row, now)?;
    if read.as_ref().map(|read| &read.push_token) != Some(&row.push_token) {
        master::confirm(db, token.sealed_by()).await?;
    }
    match read {
        None => {
            let insert = entity::insert(db, row.clone()).await;
            insert.map_err(raced)?;
        }
        Some(read) if read != row => entity::replace(db, row.clone()).await.map_err(raced)?,
        Some(_) => {}
    }
    Ok(Named {
        device: row,
        is_new,
        is_tied,
    })
}
