//! `/app/{app_id}`: the sessions of an app.

use std::{net::IpAddr, sync::Arc};

use entity::{SessionId, app_key};
use poem::{Request, web::Data};
use poem_openapi::{OpenApi, payload::Json, types::MaybeUndefined};
use serde_json::{Map, Value};

use crate::{
    api::{
        auth::{AnyKey, SecretKey},
        body::Body,
        client::client,
        failure::{Failure, may},
        item::Item,
        session_objects::{
            AmendRequest, GetSessionRequest, GetSessionResponse, GrantResponse, LogoutRequest,
            LogoutResponse, RenewRequest, SignRequest, VerifyRequest, VerifyResponse,
        },
        tag::Tag,
        types::{Id, StatusResponse, Written},
    },
    app::App,
    apps::Caller,
    error::{Error, Result, Violation},
    sessions::{self, Claims, Client, LogoutTarget, MAX_CLAIM_BYTES, NewSession},
};

/// The operations on sessions.
#[derive(Debug, Default)]
pub struct Sessions;

type Reply<T, S> = Result<Json<T>, Failure<S>>;

#[OpenApi(prefix_path = "/app", tag = "Tag::Sessions")]
impl Sessions {
    /// Begin a session
    ///
    /// Signs the first pair of tokens of a new session of a user that the caller has authenticated. Any
    /// further member of the body becomes a claim of the auth token.
    #[oai(path = "/:app_id/sign", method = "post", operation_id = "sign")]
    async fn sign(
        &self,
        Data(app): Data<&Arc<App>>,
        SecretKey(caller): SecretKey,
        body: Body<SignRequest>,
    ) -> Result<Written<GrantResponse>, Failure<(may::Key, may::Body)>> {
        if body.bytes > MAX_CLAIM_BYTES {
            return Err(Error::invalid("", "the body must have at most 16 KiB").into());
        }
        let request = body.value;
        let personal = request.personal.map(|personal| personal.0.into());
        let claims = Claims::new(request.aud.0, personal, request.custom.0)?;
        let new = NewSession {
            sub: request.sub,
            ip: request.ip,
            user_agent: request.useragent,
            device_id: request.device_id.map(|id| id.0),
            claims,
        };
        let grant = Box::pin(sessions::sign(app, &caller, new)).await?;
        Ok(Written(grant.into()))
    }

    /// Renew a session
    ///
    /// Takes the session's refresh token, which is good for this once, and signs a new pair with all of
    /// the session's claims. Of any number of concurrent renewals with one token, one wins; the others are
    /// told `refresh_token_used`, and the session is revoked (RFC 9700 section 4.14.2), unless the app's
    /// `refresh_grace` allows the immediate parent to be answered again.
    #[oai(path = "/:app_id/renew", method = "post", operation_id = "renew")]
    async fn renew(
        &self,
        Data(app): Data<&Arc<App>>,
        request: &Request,
        AnyKey(caller): AnyKey,
        body: Body<RenewRequest>,
    ) -> Result<Written<GrantResponse>, Failure<(may::Key, may::Body)>> {
        let RenewRequest {
            refresh_token,
            ip,
            useragent,
            device_id,
        } = body.value;
        let mut client = match caller.kind {
            // A browser does not know its address, and cannot be believed about it.
            app_key::Kind::Publishable => client(request, &app.config.trusted_proxies),
            app_key::Kind::Secret | app_key::Kind::Root => stated(ip, useragent)?,
        };
        client.device_id = device_id.map(|Id(id)| id);
        let grant = Box::pin(sessions::renew(app, &caller, &refresh_token, client)).await?;
        Ok(Written(grant.into()))
    }

    /// Verify a token
    ///
    /// Tells whether an auth or refresh token is good at this moment: its signature, its dates, the state
    /// of its key, and its session, which may have been revoked. A bad token is an answer, not an error.
    #[oai(path = "/:app_id/verify", method = "post", operation_id = "verify")]
    async fn verify(
        &self,
        Data(app): Data<&Arc<App>>,
        AnyKey(caller): AnyKey,
        body: Body<VerifyRequest>,
    ) -> Reply<VerifyResponse, (may::Key, may::Body)> {
        let verified = Box::pin(sessions::verify(app, &caller.app, &body.value.token)).await?;
        Ok(Json(verified.into()))
    }

    /// End sessions
    ///
    /// By `token` (auth or refresh), by `session_id`, or all of `sub` but for `except_session_id`; exactly
    /// one of the three. When this has answered, none of them renews. With a publishable key by `token`
    /// only. What has ended already, or never was, counts 0.
    #[oai(path = "/:app_id/logout", method = "post", operation_id = "logout")]
    async fn logout(
        &self,
        Data(app): Data<&Arc<App>>,
        AnyKey(caller): AnyKey,
        body: Body<LogoutRequest>,
    ) -> Reply<LogoutResponse, (may::Key, may::Body)> {
        Ok(Json(end(app, &caller, body.value).await?))
    }

    /// End sessions (alias of logout)
    #[oai(
        path = "/:app_id/revoke-token",
        method = "post",
        operation_id = "revoke_token"
    )]
    async fn revoke_token(
        &self,
        Data(app): Data<&Arc<App>>,
        AnyKey(caller): AnyKey,
        body: Body<LogoutRequest>,
    ) -> Reply<LogoutResponse, (may::Key, may::Body)> {
        Ok(Json(end(app, &caller, body.value).await?))
    }

    /// List the sessions of a subject
    ///
    /// Every session that can still be renewed, the newest first.
    #[oai(
        path = "/:app_id/get-session",
        method = "post",
        operation_id = "get_session"
    )]
    async fn get_session(
        &self,
        Data(app): Data<&Arc<App>>,
        SecretKey(caller): SecretKey,
        body: Body<GetSessionRequest>,
    ) -> Reply<GetSessionResponse, (may::Key, may::Body)> {
        let GetSessionRequest { sub, cursor, limit } = body.value;
        let cursor: Option<SessionId> = cursor.map(|Id(id)| id);
        let page = sessions::list(app, &caller.app, &sub, cursor, limit).await?;
        Ok(Json(page.into()))
    }

    /// Change the claims of a session
    ///
    /// The next renewal carries them. A member replaces its namesake; `null` removes it.
    #[oai(
        path = "/:app_id/sessions/:session_id",
        method = "patch",
        operation_id = "amend_session"
    )]
    async fn amend(
        &self,
        Data(app): Data<&Arc<App>>,
        SecretKey(caller): SecretKey,
        session_id: Item<Id<SessionId>>,
        body: Body<AmendRequest>,
    ) -> Reply<StatusResponse, (may::Key, may::Item, may::Body)> {
        let AmendRequest { personal, custom } = body.value;
        let mut changes = Map::new();
        match personal {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => changes.insert("personal".to_owned(), Value::Null),
            MaybeUndefined::Value(new) => changes.insert("personal".to_owned(), new.0.into()),
        };
        changes.extend(custom.0);
        let Id(id) = session_id.0;
        sessions::amend(app, &caller, id, changes).await?;
        Ok(Json(StatusResponse::ok()))
    }
}

async fn end(app: &App, caller: &Caller, request: LogoutRequest) -> Result<LogoutResponse> {
    let target = request.target()?;
    if caller.kind == app_key::Kind::Publishable && !matches!(target, LogoutTarget::Token(_)) {
        return Err(Error::InsufficientKey);
    }
    let revoked = Box::pin(sessions::logout(app, caller, target)).await?;
    Ok(LogoutResponse::of(revoked))
}

/// What a backend says of its client; it must say both.
fn stated(ip: Option<IpAddr>, user_agent: Option<String>) -> Result<Client> {
    let required = |field| Violation::new(field, "is required with a secret key");
    let mut missing = Vec::new();
    missing.extend(ip.is_none().then(|| required("ip")));
    missing.extend(user_agent.is_none().then(|| required("useragent")));
    if missing.is_empty() {
        Ok(Client {
            ip,
            user_agent,
            device_id: None,
        })
    } else {
        Err(Error::Invalid(missing))
    }
}
