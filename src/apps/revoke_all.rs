//! Every key of the server ends at once, and every registration: what is done when nobody knows which of them were ended
//! before.

use entity::{PlainSecret, app, app_key, registration_token};

use crate::{
    app::App,
    apps::{ServerRevision, root_key},
    audit::{Action, Actor, Event},
    error::Result,
    signing,
};

/// Apps that are read at once.
const APPS: u64 = 100;

/// Revokes all app-keys and the registration tokens of all devices, lets every app sign with a new key, and replaces the root
/// key by the one that this gives.
pub async fn revoke_all(app: &App, actor: &Actor) -> Result<PlainSecret> {
    let mut before = None;
    loop {
        let apps = app::list(&app.store.reader, before, APPS).await?;
        let Some(last) = apps.last() else { break };
        before = Some(last.id);
        for row in &apps {
            signing::rotate_in_emergency(app, actor, row.id).await?;
        }
    }
    app.retry(|| revoke_presented(app, actor)).await?;
    root_key::rotate(app, actor, 0).await
}

/// What backends, front ends and devices present.
async fn revoke_presented(app: &App, actor: &Actor) -> Result<()> {
    let revision = ServerRevision::begin(app, actor).await?;
    let (db, now) = (&revision.db, revision.now);
    app::advance_all(db).await?;
    let revoked = app_key::revoke_all(db, now).await?;
    let ended = registration_token::revoke_all(db, now).await?;
    let event = |action, target| Event {
        target: Some(target),
        ..Event::of_server(action)
    };
    let events = [
        event(Action::AppKeyRevoke, format!("{revoked} app-keys")),
        event(Action::RegistrationRevoke, format!("{ended} registrations")),
    ];
    revision.commit(events).await
}
