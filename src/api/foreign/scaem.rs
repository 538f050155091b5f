//! SCAEM: an external application registers, and replaces its own token. Members that are not documented are ignored.

use std::sync::Arc;

use poem::{Request, web::Data};
use poem_openapi::{Object, OpenApi, SecurityScheme, auth::ApiKey, payload::Json, types::Example};

use crate::{
    api::{
        auth::{RootKey, presented, state},
        body::Body,
        failure::{Failure, may},
        tag::Tag,
        types::JsonObject,
    },
    app::App,
    apps::{
        Caller,
        application::{self, Enrolled},
        authenticate,
    },
    error::{Error, Result},
};

/// The operations of SCAEM.
#[derive(Debug, Default)]
pub struct Scaem;

type Reply<T> = Result<Json<T>, Failure<(may::Key, may::Item, may::Body, may::Conflict)>>;

/// The current token of an application, as `<key>` or `api_key|<key>`, bare or as Bearer.
#[derive(SecurityScheme)]
#[oai(
    rename = "registration_token",
    ty = "api_key",
    key_name = "Authorization",
    key_in = "header",
    checker = "check_registration"
)]
pub struct RegistrationToken(Caller);

/// The project, which is an app.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ProjectRequest {
    /// The app's id.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub project_code: String,
    /// Seconds for which a replaced token still works; `update` only.
    #[oai(default, validator(minimum(value = "0"), maximum(value = "2592000")))]
    pub overlap: i64,
    /// Further members are ignored.
    #[oai(flatten)]
    pub rest: JsonObject,
}

/// A token of an application. It is shown this once.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RegistrationResponse {
    /// A UUID that stays with the application.
    pub registration_id: String,
    /// `api_key|` and the key.
    pub registration_token: String,
    /// RFC 3339.
    pub token_expiration: String,
    /// Always `Bearer`.
    pub token_type: String,
}

#[OpenApi(prefix_path = "/v1/auth", tag = "Tag::Scaem")]
impl Scaem {
    /// Register an application in a project
    #[oai(path = "/register", method = "post", operation_id = "scaem_register")]
    async fn register(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
        body: Body<ProjectRequest>,
    ) -> Reply<RegistrationResponse> {
        let project = body.value.project_code.parse();
        let id = project.map_err(|_| Error::NotFound("project"))?;
        Ok(Json(application::enrol(app, &actor, id).await?.into()))
    }

    /// Make a new token for an application
    ///
    /// It takes the place of the current one, which was presented and fails at once: an application has one token.
    #[oai(
        path = "/token/generate",
        method = "post",
        operation_id = "scaem_generate"
    )]
    async fn generate(
        &self,
        Data(app): Data<&Arc<App>>,
        RegistrationToken(caller): RegistrationToken,
        body: Body<ProjectRequest>,
    ) -> Reply<RegistrationResponse> {
        require_own(&caller, &body.value.project_code)?;
        let made = application::replace_key(app, &caller, 0).await?;
        Ok(Json(made.into()))
    }

    /// Replace the token of an application
    ///
    /// The old one fails at once, unless an overlap is asked for; what was replaced before it fails in any case.
    #[oai(
        path = "/token/update",
        method = "patch",
        operation_id = "scaem_update"
    )]
    async fn update(
        &self,
        Data(app): Data<&Arc<App>>,
        RegistrationToken(caller): RegistrationToken,
        body: Body<ProjectRequest>,
    ) -> Reply<RegistrationResponse> {
        let ProjectRequest {
            project_code,
            overlap,
            ..
        } = body.value;
        require_own(&caller, &project_code)?;
        let made = application::replace_key(app, &caller, overlap).await?;
        Ok(Json(made.into()))
    }
}

async fn check_registration(request: &Request, key: ApiKey) -> poem::Result<Caller> {
    let app = state(request)?;
    let presented = presented(app, request, &key);
    let (_, key_id) = presented.key.parse().ok_or(Error::InvalidKey)?;
    let id = application::app_of(app, key_id).await?;
    let caller = authenticate(app, id, presented).await?;
    application::held_by(&caller)?;
    Ok(caller)
}

/// Sees that the project is the one that the application registered in.
fn require_own(caller: &Caller, project: &str) -> Result<()> {
    if project == caller.app.app.id.to_string() {
        Ok(())
    } else {
        Err(Error::Elsewhere(
            "The application is not registered in this project: use POST /v1/auth/register.",
        ))
    }
}

impl From<Enrolled> for RegistrationResponse {
    fn from(made: Enrolled) -> Self {
        Self {
            registration_id: made.id,
            registration_token: format!("api_key|{}", made.key.secret.reveal()),
            token_expiration: made.expires_at.to_rfc3339(),
            token_type: "Bearer".to_owned(),
        }
    }
}

impl Example for ProjectRequest {
    fn example() -> Self {
        Self {
            project_code: "01JMWRJEJ71191KP88NDGWVYEW".to_owned(),
            overlap: 0,
            rest: JsonObject::default(),
        }
    }
}

impl Example for RegistrationResponse {
    fn example() -> Self {
        Self {
            registration_id: "dfa45616-e9f9-45be-881e-a1ed8ae70224".to_owned(),
            registration_token: "api_key|rnw_sk_01JMWRJEJ71191KP88NDGWVYEW…".to_owned(),
            token_expiration: "2027-11-20T12:00:00Z".to_owned(),
            token_type: "Bearer".to_owned(),
        }
    }
}
