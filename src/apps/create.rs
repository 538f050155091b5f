//! Makes an app.

use entity::{AppId, PlainSecret, SecretKind, SigningKeyId};
use keys::PrivateKey;

use crate::{
    app::App,
    apps::{NewApp, NewAppKey},
    audit::{Action, Actor, Event, record},
    error::Result,
    signing::{
        self, dates,
        schedule::{Step, next_step},
        token_life,
    },
};

/// An app that was made. Its keys are shown this once.
#[derive(Debug)]
pub struct Created {
    pub id: AppId,
    pub secret_key: PlainSecret,
    pub publishable_key: PlainSecret,
    pub signing_key_id: SigningKeyId,
    /// Base64 of the PEM of the public signing key.
    pub public_key: String,
    pub algorithm: String,
}

/// Makes an app with a signing key, a secret and a publishable app-key.
///
/// # Errors
/// With every rule that its policy breaks.
pub async fn create(app: &App, actor: &Actor, new: NewApp) -> Result<Created> {
    let now = app.clock.now();
    let id = app.rng.with(|rng| AppId::mint(now, rng));
    new.clone().into_row(id, now)?;
    // Once, and before anything waits for the store: to draw an RSA key takes seconds on a slow machine.
    let private = signing::draw(app, new.algo).await?;
    app.retry(|| insert(app, actor, new.clone(), &private))
        .await
}

async fn insert(app: &App, actor: &Actor, new: NewApp, private: &PrivateKey) -> Result<Created> {
    let now = app.clock.now();
    let algorithm = new.algo;
    let id = app.rng.with(|rng| AppId::mint(now, rng));
    let mut row = new.into_row(id, now)?;
    let signing = signing::seal(app, id, algorithm, private, token_life(&row), now, now).await?;
    let secret = NewAppKey::main(SecretKind::Secret).draw(app, id, now)?;
    let publishable = NewAppKey::main(SecretKind::Publishable).draw(app, id, now)?;
    row.next_key_at = match next_step(&[dates(signing.row())], signing::policy(app, &row), now) {
        Step::Publish { .. } => now,
        Step::Wait(until) => until,
    };
    let created = Created {
        id,
        secret_key: secret.secret,
        publishable_key: publishable.secret,
        signing_key_id: signing.id(),
        public_key: signing.public.pem_base64.clone(),
        algorithm: algorithm.to_string(),
    };

    let transaction = actor.begin(app).await?;
    entity::insert(&transaction, row).await?;
    signing.insert(&transaction).await?;
    entity::insert(&transaction, secret.row).await?;
    entity::insert(&transaction, publishable.row).await?;
    let event = Event::of(Action::AppCreate, id, id);
    record(&transaction, &app.rng, now, actor, [event]).await?;
    // Nobody knows anything of it yet.
    app.store.commit(transaction).await?;
    Ok(created)
}
