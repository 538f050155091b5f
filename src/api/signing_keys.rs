//! `/root/{app_id}`: the signing keys.

use std::sync::Arc;

use entity::{AppId, SigningKeyId, Timestamp};
use poem::web::Data;
use poem_openapi::{Enum, Object, OpenApi, param::Path, payload::Json, types::Example};

use crate::{
    api::{
        auth::RootKey,
        failure::{Failure, may},
        tag::Tag,
        types::{Id, StatusResponse},
    },
    app::App,
    audit::Actor,
    error::{Error, Result},
    signing::{self, Entry, Keyring, schedule::State},
};

/// The operations on signing keys.
#[derive(Debug, Default)]
pub struct SigningKeys;

type Reply<T, S> = Result<Json<T>, Failure<S>>;

/// What a signing key is at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum KeyState {
    /// Verifiers can fetch it; it does not sign yet.
    Published,
    /// It signs.
    Active,
    /// It signed; its tokens are good.
    Retired,
    /// Its tokens are dead.
    Revoked,
    /// Nothing that it signed can live.
    Gone,
}

/// The next signing key.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RotateSigningKeyResponse {
    pub app_id: Id<AppId>,
    pub key_id: Id<SigningKeyId>,
    /// When it begins to sign, in RFC 3339: every verifier can have fetched it by then.
    pub activates_at: String,
}

/// The signing key that replaced all others.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RotatePkiResponse {
    pub app_id: Id<AppId>,
    /// Base64 of its PEM.
    pub new_public_key: String,
    pub algo: String,
    pub key_id: Id<SigningKeyId>,
}

/// The signing keys of an app, the last one first.
#[derive(Debug, Object)]
#[oai(example)]
pub struct SigningKeysResponse {
    pub signing_keys: Vec<SigningKeyObject>,
    /// Always null: an app has few.
    #[oai(nullable)]
    pub next_cursor: Option<String>,
}

/// A signing key, but for its private half. Times in RFC 3339.
#[derive(Debug, Object)]
pub struct SigningKeyObject {
    pub key_id: Id<SigningKeyId>,
    pub algo: String,
    pub state: KeyState,
    pub created_at: String,
    /// When it began or will begin to sign.
    pub activates_at: String,
    /// When it ceased or will cease to sign, if that is known.
    #[oai(nullable)]
    pub retires_at: Option<String>,
    #[oai(nullable)]
    pub revoked_at: Option<String>,
    /// When it is removed.
    #[oai(nullable)]
    pub gone_at: Option<String>,
}

#[OpenApi(prefix_path = "/root", tag = "Tag::Administration")]
impl SigningKeys {
    /// Rotate the signing key
    ///
    /// Gracefully: the next key is published, then signs. What the present one signed lives on.
    #[oai(
        path = "/:app_id/rotate/signing-key",
        method = "post",
        operation_id = "rotate_signing_key"
    )]
    async fn rotate(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
        app_id: Path<Id<AppId>>,
    ) -> Reply<RotateSigningKeyResponse, (may::Key, may::Item, may::Conflict)> {
        let Id(id) = app_id.0;
        let (key_id, activates_at) = signing::rotate(app, &actor, id).await?;
        Ok(Json(RotateSigningKeyResponse {
            app_id: Id(id),
            key_id: Id(key_id),
            activates_at: activates_at.to_rfc3339(),
        }))
    }

    /// Replace all signing keys, in an emergency
    ///
    /// All tokens of the old keys are dead at once, and no session of theirs renews: every user signs in again.
    #[oai(
        path = "/:app_id/rotate/pki",
        method = "post",
        operation_id = "rotate_pki"
    )]
    async fn rotate_pki(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
        app_id: Path<Id<AppId>>,
    ) -> Reply<RotatePkiResponse, (may::Key, may::Item, may::Conflict)> {
        let Id(id) = app_id.0;
        Ok(Json(rotate_pki(app, &actor, id).await?))
    }

    /// Replace all signing keys, in an emergency (as JWTPlus has it)
    #[oai(
        path = "/:app_id/rotate/pki",
        method = "get",
        operation_id = "rotate_pki_get",
        deprecated
    )]
    async fn rotate_pki_get(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
        app_id: Path<Id<AppId>>,
    ) -> Reply<RotatePkiResponse, (may::Key, may::Item, may::Conflict)> {
        let Id(id) = app_id.0;
        Ok(Json(rotate_pki(app, &actor, id).await?))
    }

    /// Revoke a signing key
    ///
    /// Its tokens are dead at once, and no session of its tokens renews. If it is the one that signs, the next one does.
    #[oai(
        path = "/:app_id/revoke/:key_id",
        method = "delete",
        operation_id = "revoke_signing_key"
    )]
    async fn revoke(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
        app_id: Path<Id<AppId>>,
        key_id: Path<Id<SigningKeyId>>,
    ) -> Reply<StatusResponse, (may::Key, may::Item, may::Conflict)> {
        let (Id(id), Id(key)) = (app_id.0, key_id.0);
        signing::revoke(app, &actor, id, key).await?;
        Ok(Json(StatusResponse::ok()))
    }

    /// List the signing keys
    #[oai(
        path = "/:app_id/signing-keys",
        method = "get",
        operation_id = "list_signing_keys"
    )]
    async fn list(
        &self,
        Data(app): Data<&Arc<App>>,
        _root: RootKey,
        app_id: Path<Id<AppId>>,
    ) -> Reply<SigningKeysResponse, (may::Key, may::Item)> {
        let (Id(id), now) = (app_id.0, app.clock.now());
        let loaded = app.load(id).await?.ok_or(Error::NotFound("app"))?;
        Ok(Json(SigningKeysResponse::of(&loaded.keyring, now)))
    }
}

async fn rotate_pki(app: &App, actor: &Actor, id: AppId) -> Result<RotatePkiResponse> {
    let key = signing::rotate_in_emergency(app, actor, id).await?;
    Ok(RotatePkiResponse {
        app_id: Id(id),
        key_id: Id(key.id.parse().map_err(Error::internal)?),
        algo: key.algorithm.to_string(),
        new_public_key: key.pem_base64,
    })
}

impl SigningKeysResponse {
    /// What the contract shows of the keys at `now`.
    pub fn of(keyring: &Keyring, now: Timestamp) -> Self {
        let mut retires_at = None;
        let objects = keyring.entries(now).map(|(entry, state)| {
            let object = SigningKeyObject::of(entry, state, retires_at);
            // The one before retires when this one begins.
            if state.verifies() {
                retires_at = Some(entry.row.activates_at);
            }
            object
        });
        Self {
            signing_keys: objects.collect(),
            next_cursor: None,
        }
    }
}

impl SigningKeyObject {
    /// What the contract shows of a key; `successor_at` is when the one after it begins to sign.
    pub fn of(entry: &Entry, state: State, successor_at: Option<Timestamp>) -> Self {
        let row = &entry.row;
        let (kind, retires_at, gone_at) = match state {
            State::Published => (KeyState::Published, None, None),
            State::Active => (KeyState::Active, successor_at, None),
            State::Retired { at, gone_at } => (KeyState::Retired, Some(at), Some(gone_at)),
            State::Revoked { gone_at, .. } => (KeyState::Revoked, None, Some(gone_at)),
            State::Gone { .. } => (KeyState::Gone, None, None),
        };
        Self {
            key_id: Id(row.id),
            algo: row.algorithm.clone(),
            state: kind,
            created_at: row.created_at.to_rfc3339(),
            activates_at: row.activates_at.to_rfc3339(),
            retires_at: retires_at.map(Timestamp::to_rfc3339),
            revoked_at: row.revoked_at.map(Timestamp::to_rfc3339),
            gone_at: gone_at.map(Timestamp::to_rfc3339),
        }
    }
}

impl Example for RotateSigningKeyResponse {
    fn example() -> Self {
        Self {
            app_id: Id(AppId::EXAMPLE),
            key_id: Id(SigningKeyId::EXAMPLE),
            activates_at: "2026-11-20T12:05:01Z".to_owned(),
        }
    }
}

impl Example for RotatePkiResponse {
    fn example() -> Self {
        Self {
            app_id: Id(AppId::EXAMPLE),
            new_public_key: "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0K…".to_owned(),
            algo: "ES256".to_owned(),
            key_id: Id(SigningKeyId::EXAMPLE),
        }
    }
}

impl Example for SigningKeysResponse {
    fn example() -> Self {
        Self {
            signing_keys: vec![SigningKeyObject {
                key_id: Id(SigningKeyId::EXAMPLE),
                algo: "ES256".to_owned(),
                state: KeyState::Active,
                created_at: "2026-11-20T12:00:00Z".to_owned(),
                activates_at: "2026-11-20T12:00:00Z".to_owned(),
                retires_at: None,
                revoked_at: None,
                gone_at: None,
            }],
            next_cursor: None,
        }
    }
}
