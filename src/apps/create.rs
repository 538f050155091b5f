//! Makes an app.

use entity::{AppId, AppKeyId, PlainSecret, SecretKind, SigningKeyId, Timestamp, app_key, setting};
use sea_orm::{ActiveModelTrait, IntoActiveModel};

use crate::{
    app::App,
    apps::NewApp,
    error::{Error, Result},
    signing,
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
/// With every rule that its policy breaks; those of the store.
pub async fn create(app: &App, new: NewApp) -> Result<Created> {
    let now = app.clock.now();
    let algorithm = new.algorithm;
    let id = app.rng.with(|rng| AppId::mint(now, rng));
    let row = new.into_row(id, now)?;
    let (signing_row, public) = signing::generate(app, id, algorithm, now)?;
    let (secret_key, secret_row) = app_key(app, id, SecretKind::Secret, now);
    let (publishable_key, publishable_row) = app_key(app, id, SecretKind::Publishable, now);
    let created = Created {
        id,
        secret_key,
        publishable_key,
        signing_key_id: signing_row.id,
        public_key: public.pem_base64,
        algorithm: algorithm.to_string(),
    };

    let transaction = app.store.begin().await.map_err(Error::from)?;
    row.into_active_model().insert(&transaction).await?;
    signing_row.into_active_model().insert(&transaction).await?;
    secret_row.into_active_model().insert(&transaction).await?;
    publishable_row
        .into_active_model()
        .insert(&transaction)
        .await?;
    setting::advance_epoch(&transaction).await?;
    transaction.commit().await?;
    app.directory.drop_all();
    tracing::info!(app_id = %id, "app created");
    Ok(created)
}

fn app_key(
    app: &App,
    app_id: AppId,
    kind: SecretKind,
    now: Timestamp,
) -> (PlainSecret, app_key::Model) {
    app.rng.with(|rng| {
        let id = AppKeyId::mint(now, rng);
        let secret = PlainSecret::generate(kind, id, rng);
        let row = app_key::Model {
            id,
            app_id: Some(app_id),
            kind: kind.into(),
            name: String::new(),
            hash: secret.hash(),
            created_at: now,
            expires_at: None,
        };
        (secret, row)
    })
}
