//! The app that is measured with: made before, deleted afterwards.

use std::{env, path::PathBuf, time::Duration};

use ambient::{Clock, Rng};
use hyper::{Method, StatusCode};
use serde_json::json;
use tempfile::TempDir;

use super::{
    connection::{Address, Connection, Endpoint},
    failure::{Done, During, Failure},
    wire,
};
use crate::{
    app::App,
    apps::{self, NewApp},
    audit::Actor,
    cli,
    config::{Config, LogLevel, Secrets},
    start,
};

const NAME: &str = "renewd bench";
/// Seconds, as those below.
const TOKEN_EXPIRE: i64 = 3600;
const REFRESH_EXPIRE: i64 = 7200;
/// A year: no key changes while it is measured.
const ROTATION_PERIOD: i64 = 31_536_000;

/// How long a server may take to make or delete an app.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is measured.
pub enum Place {
    /// A server that runs.
    At { address: Address, root_key: String },
    /// A store, on which the bench starts a server.
    Own(OwnStore),
}

pub struct OwnStore {
    /// The settings of the server.
    pub config: Config,
    /// Where a store is that goes with the bench; `None` when the user named one.
    pub temporary: Option<TempDir>,
}

pub struct BenchApp {
    pub id: String,
    pub secret_key: String,
}

impl Place {
    pub fn at(url: &str, root_key: Option<&str>) -> Done<Self> {
        let missing = "--url needs the root key of that server, by RENEWD_ROOT_KEY or --root-key";
        Ok(Self::At {
            address: Address::parse(url)?,
            root_key: root_key.ok_or_else(|| Failure::of(missing))?.to_owned(),
        })
    }

    /// The store of `config` if the user has named it, else a temporary one.
    pub fn own(mut config: Config, has_store: bool) -> Done<Self> {
        config.listen = ([127, 0, 0, 1], 0).into();
        config.metrics_listen = None;
        config.shutdown_delay = 0;
        // It warns of each refresh token that is used twice, which the bench does to see it refused.
        config.log = LogLevel::Error;
        let temporary = if has_store { None } else { Some(folder()?) };
        if let Some(folder) = &temporary {
            config.data_dir = folder.path().to_owned();
            config.database_url = String::new();
        }
        Ok(Self::Own(OwnStore { config, temporary }))
    }

    pub async fn create_app(&self) -> Done<BenchApp> {
        match self {
            Self::At { address, root_key } => create_at(address, root_key).await,
            Self::Own(store) => store.create_app().await,
        }
    }

    /// Deletes the app, unless its store goes anyway. The rows are purged by a server, as ever.
    pub async fn delete_app(&self, app: &BenchApp) -> Done {
        match self {
            Self::At { address, root_key } => delete_at(address, root_key, app).await,
            Self::Own(store) if store.temporary.is_none() => store.delete_app(app).await,
            Self::Own(_) => Ok(()),
        }
    }
}

impl OwnStore {
    /// In the store itself, as `renewd app create` does: no root key is needed, and should this make the store, its user is
    /// shown the root key.
    async fn create_app(&self) -> Done<BenchApp> {
        let what = "make an app in the store";
        let app = self.open().await?;
        let new = NewApp {
            token_expire: TOKEN_EXPIRE,
            refresh_expire: REFRESH_EXPIRE,
            refresh_notbefore: 0,
            rotation_period: ROTATION_PERIOD,
            ..NewApp::named(NAME.to_owned())
        };
        let created = apps::create(&app, &Actor::cli(), new).await.during(what)?;
        app.close().await.during(what)?;
        Ok(BenchApp {
            id: created.id.to_string(),
            secret_key: created.secret_key.reveal().to_owned(),
        })
    }

    async fn delete_app(&self, bench: &BenchApp) -> Done {
        let what = format!("delete the app {} of the bench", bench.id);
        let id = bench.id.parse().during(&what)?;
        let app = self.open().await?;
        apps::delete(&app, &Actor::cli(), id).await.during(&what)?;
        app.close().await.during(&what)
    }

    async fn open(&self) -> Done<App> {
        let what = "open the store";
        let config = self.config.clone();
        if self.temporary.is_none() {
            return cli::open(config).await.during(what);
        }
        let none = Secrets::default();
        let opened = start::open(config, none, Clock::system(), Rng::system()).await;
        Ok(opened.during(what)?.app)
    }
}

/// On a disk: `/tmp` is often in memory, where a commit costs nothing.
fn folder() -> Done<TempDir> {
    let on_disk = PathBuf::from("/var/tmp");
    let parent = match env::var_os("TMPDIR") {
        None if on_disk.is_dir() => on_disk,
        _ => env::temp_dir(),
    };
    tempfile::Builder::new()
        .prefix("renewd-bench-")
        .tempdir_in(&parent)
        .during(format!("make a temporary folder in {}", parent.display()))
}

async fn create_at(address: &Address, root_key: &str) -> Done<BenchApp> {
    let body = json!({
        "name": NAME, "token_expire": TOKEN_EXPIRE, "refresh_expire": REFRESH_EXPIRE, "refresh_notbefore": 0,
        "key_type": "ECDSA", "algo": "ES256", "rotation_period": ROTATION_PERIOD,
    });
    let endpoint = Endpoint::new(address, Method::POST, "/root/create", root_key)?;
    let answer = once(address, &endpoint, body.to_string()).await?;
    let created: wire::Created<'_> = answer.read("make an app")?;
    Ok(BenchApp {
        id: created.app_id.to_owned(),
        secret_key: created.app_key.to_owned(),
    })
}

async fn delete_at(address: &Address, root_key: &str, app: &BenchApp) -> Done {
    let path = format!("/root/{}", app.id);
    let endpoint = Endpoint::new(address, Method::DELETE, &path, root_key)?;
    let answer = once(address, &endpoint, String::new()).await?;
    if answer.status == StatusCode::OK {
        return Ok(());
    }
    Err(answer.refusal(&format!("delete the app {} of the bench", app.id)))
}

async fn once(address: &Address, endpoint: &Endpoint, body: String) -> Done<wire::Answer> {
    let exchange = async {
        let mut connection = Connection::open(address).await?;
        connection.exchange(endpoint, body).await
    };
    let late = || Failure::of(format!("{address} does not answer"));
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .unwrap_or_else(|_| Err(late()))
}
