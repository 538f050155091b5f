//! `/root`: the server as a whole.

use std::sync::Arc;

use entity::{AppId, AuditEventId, Timestamp, audit_event, lease};
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
    payload::Json,
    types::Example,
};

use crate::{
    api::{
        auth::RootKey,
        body::MaybeBody,
        failure::{Failure, may},
        tag::Tag,
        types::{Id, StatusResponse, default_limit},
    },
    app::App,
    apps::{self, root_key},
    audit,
    error::{Error, Result},
    page::Listing,
};

/// The operations on the server as a whole.
#[derive(Debug, Default)]
pub struct Root;

type Reply<T, S> = Result<Json<T>, Failure<S>>;

/// How fast to replace the root key.
#[derive(Debug, Default, Object)]
#[oai(example)]
pub struct RotateRootRequest {
    /// Seconds for which the old key still works; 0 ends it at once.
    #[oai(default, validator(minimum(value = "0"), maximum(value = "2592000")))]
    pub overlap: i64,
}

/// The new root key. It is shown this once.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RotateRootResponse {
    #[oai(rename = "new-key")]
    pub new_key: String,
}

/// A page of the audit.
#[derive(Debug, Object)]
#[oai(example)]
pub struct AuditResponse {
    pub events: Vec<AuditEventObject>,
    /// Where the next page begins; null on the last.
    #[oai(nullable)]
    pub next_cursor: Option<Id<AuditEventId>>,
}

/// Something that was done.
#[derive(Debug, Object)]
pub struct AuditEventObject {
    pub id: Id<AuditEventId>,
    /// RFC 3339.
    pub at: String,
    /// The app that it concerns; null for the server as a whole.
    #[oai(nullable)]
    pub app_id: Option<Id<AppId>>,
    /// The id of the key that was presented; or `cli`, `job`, `anonymous`.
    pub actor: String,
    /// Such as `app.create`.
    pub action: String,
    /// The id of what it was done to.
    #[oai(nullable)]
    pub target: Option<String>,
    #[oai(nullable)]
    pub request_id: Option<String>,
    #[oai(nullable)]
    pub ip: Option<String>,
}

/// How the server is doing.
#[derive(Debug, Object)]
#[oai(example)]
pub struct StatsResponse {
    pub version: String,
    /// Names this process where several share a store.
    pub node: String,
    /// Whether this process's clock fits the newest time that the store knows. While it does not, nothing is purged and no signing
    /// key rotated.
    pub clock_believed: bool,
    pub jobs: Vec<JobObject>,
}

/// A job and its last run.
#[derive(Debug, Object)]
pub struct JobObject {
    pub name: String,
    /// RFC 3339.
    #[oai(nullable)]
    pub last_run_at: Option<String>,
    /// What the last run that succeeded did.
    #[oai(nullable)]
    pub last_rows: Option<i64>,
    /// Why the last run failed; null when it succeeded.
    #[oai(nullable)]
    pub last_error: Option<String>,
    /// The process that runs it at this moment.
    #[oai(nullable)]
    pub held_by: Option<String>,
}

#[OpenApi(prefix_path = "/root", tag = "Tag::Administration")]
impl Root {
    /// Replace the root key
    ///
    /// The new one is shown this once. The old one fails at once, unless an overlap is asked for.
    #[oai(path = "/rotate", method = "post", operation_id = "rotate_root_key")]
    async fn rotate(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
        body: MaybeBody<RotateRootRequest>,
    ) -> Reply<RotateRootResponse, (may::Key, may::Body, may::Conflict)> {
        let key = root_key::rotate(app, &actor, body.0.overlap).await?;
        Ok(Json(RotateRootResponse::of(key.reveal())))
    }

    /// Replace the root key (as JWTPlus has it)
    #[oai(
        path = "/rotate",
        method = "get",
        operation_id = "rotate_root_key_get",
        deprecated
    )]
    async fn rotate_get(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
    ) -> Reply<RotateRootResponse, (may::Key,)> {
        let key = root_key::rotate(app, &actor, 0).await?;
        Ok(Json(RotateRootResponse::of(key.reveal())))
    }

    /// End every session of an app
    ///
    /// Every token issued until now is dead, at once, whatever the number.
    #[oai(path = "/:app_id/flush", method = "delete", operation_id = "flush_app")]
    async fn flush(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
        app_id: Path<Id<AppId>>,
    ) -> Reply<StatusResponse, (may::Key, may::Item)> {
        let Id(id) = app_id.0;
        apps::flush(app, &actor, id).await?;
        Ok(Json(StatusResponse::ok()))
    }

    /// Read the audit
    ///
    /// Who did what, when: the newest first.
    #[oai(path = "/audit", method = "get", operation_id = "audit")]
    async fn audit(
        &self,
        Data(app): Data<&Arc<App>>,
        _root: RootKey,
        /// Events of this app only.
        app_id: Query<Option<Id<AppId>>>,
        /// Events of then and later only, in RFC 3339.
        since: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<Id<AuditEventId>>>,
        /// Events on a page.
        #[oai(
            default = "default_limit",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<u64>,
    ) -> Reply<AuditResponse, (may::Key, may::Query)> {
        let since = since.0.map(|since| {
            Timestamp::from_rfc3339(&since)
                .ok_or_else(|| Error::invalid("since", "must be a time in RFC 3339"))
        });
        let filter = audit_event::Filter {
            app_id: app_id.0.map(|Id(id)| id),
            since: since.transpose()?,
            before: cursor.0.map(|Id(id)| id),
        };
        Ok(Json(audit::list(app, filter, limit.0).await?.into()))
    }

    /// Show how the server is doing
    #[oai(path = "/stats", method = "get", operation_id = "stats")]
    async fn stats(
        &self,
        Data(app): Data<&Arc<App>>,
        _root: RootKey,
    ) -> Reply<StatsResponse, (may::Key,)> {
        let now = app.clock.now();
        let jobs = lease::list(&app.store.reader).await.map_err(Error::from)?;
        Ok(Json(StatsResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: app.node.to_string(),
            clock_believed: app.watch.is_believed(),
            jobs: jobs
                .into_iter()
                .map(|job| JobObject::of(job, now))
                .collect(),
        }))
    }
}

impl RotateRootResponse {
    fn of(key: &str) -> Self {
        Self {
            new_key: key.to_owned(),
        }
    }
}

impl From<audit_event::Model> for AuditEventObject {
    fn from(event: audit_event::Model) -> Self {
        Self {
            id: Id(event.id),
            at: event.at.to_rfc3339(),
            app_id: event.app_id.map(Id),
            actor: event.actor,
            action: event.action,
            target: event.target,
            request_id: event.request_id,
            ip: event.ip,
        }
    }
}

impl From<Listing<audit_event::Model, AuditEventId>> for AuditResponse {
    fn from(page: Listing<audit_event::Model, AuditEventId>) -> Self {
        Self {
            events: page.items.into_iter().map(AuditEventObject::from).collect(),
            next_cursor: page.next.map(Id),
        }
    }
}

impl JobObject {
    fn of(job: lease::Model, now: Timestamp) -> Self {
        Self {
            held_by: job.holder_at(now).map(|node| node.to_string()),
            name: job.name,
            last_run_at: job.last_run_at.map(Timestamp::to_rfc3339),
            last_rows: job.last_rows,
            last_error: job.last_error,
        }
    }
}

impl Example for RotateRootRequest {
    fn example() -> Self {
        Self { overlap: 3600 }
    }
}

impl Example for RotateRootResponse {
    fn example() -> Self {
        Self::of("rnw_root_01JMWRJEJ71191KP88NDGWVYEW…")
    }
}

impl Example for AuditResponse {
    fn example() -> Self {
        Self {
            events: vec![AuditEventObject {
                id: Id(AuditEventId::EXAMPLE),
                at: "2026-11-20T12:00:00Z".to_owned(),
                app_id: Some(Id(AppId::EXAMPLE)),
                actor: "01JMWRJEJ71191KP88NDGWVYEW".to_owned(),
                action: "app.create".to_owned(),
                target: Some(AppId::EXAMPLE.to_string()),
                request_id: Some("01JMWRJEJ71191KP88NDGWVYEW".to_owned()),
                ip: Some("203.0.113.7".to_owned()),
            }],
            next_cursor: None,
        }
    }
}

impl Example for StatsResponse {
    fn example() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: "01JMWRJEJ71191KP88NDGWVYEW".to_owned(),
            clock_believed: true,
            jobs: vec![JobObject {
                name: "purge".to_owned(),
                last_run_at: Some("2026-11-20T12:00:00Z".to_owned()),
                last_rows: Some(0),
                last_error: None,
                held_by: None,
            }],
        }
    }
}
