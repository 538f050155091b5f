//! The store on which a server is started for the bench.

use std::{env, process::Command};

use ambient::{Clock, Rng};
use bench::{BenchApp, Done, During, Folder, OwnServer};

use crate::{
    app::App,
    apps::{self, NewApp},
    audit::Actor,
    cli,
    config::{Config, LogLevel, SECRETS, Secrets},
    start,
};

pub struct OwnStore {
    /// The settings of the server.
    config: Config,
    /// Where a store is that goes with the bench; `None` when the user named one.
    temporary: Option<Folder>,
}

impl OwnStore {
    /// The store of `config` if the user has named it, else a temporary one.
    pub fn new(mut config: Config, has_store: bool) -> Done<Self> {
        config.listen = ([127, 0, 0, 1], 0).into();
        config.metrics_listen = None;
        config.shutdown_delay = 0;
        // It warns of each refresh token that is used twice, which the bench does to see it refused.
        config.log = LogLevel::Error;
        let temporary = if has_store {
            None
        } else {
            Some(Folder::create()?)
        };
        if let Some(folder) = &temporary {
            config.data_dir = folder.path().to_owned();
            config.database_url = String::new();
        }
        Ok(Self { config, temporary })
    }

    /// How its server is started.
    pub fn server(&self) -> Done<OwnServer> {
        Ok(OwnServer {
            command: self.command()?,
            settings: toml::to_string(&self.config).during("start a server")?,
            store: self.describe(),
        })
    }

    /// In the store itself, as `renewd app create` does: no root key is needed, and should this make the store, its user is
    /// shown the root key.
    pub async fn create_app(&self) -> Done<BenchApp> {
        let what = "make an app in the store";
        let app = self.open().await?;
        let new = NewApp {
            token_expire: BenchApp::TOKEN_EXPIRE,
            refresh_expire: BenchApp::REFRESH_EXPIRE,
            refresh_notbefore: 0,
            rotation_period: BenchApp::ROTATION_PERIOD,
            ..NewApp::named(BenchApp::NAME.to_owned())
        };
        let created = apps::create(&app, &Actor::cli(), new).await.during(what)?;
        app.close().await.during(what)?;
        Ok(BenchApp {
            id: created.id.to_string(),
            secret_key: created.secret_key.reveal().to_owned(),
        })
    }

    /// Deletes the app, unless its store goes anyway. The rows are purged by a server, as ever.
    pub async fn delete_app(&self, bench: &BenchApp) -> Done {
        if self.temporary.is_some() {
            return Ok(());
        }
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
            return cli::open::open(config).await.during(what);
        }
        let none = Secrets::default();
        let opened = start::open(config, none, Clock::system(), Rng::system()).await;
        Ok(opened.during(what)?.app)
    }

    /// This program, which reads its settings from its standard input.
    fn command(&self) -> Done<Command> {
        let mut command = Command::new(env::current_exe().during("find this program")?);
        command.args(["serve", "--config", "/dev/stdin"]);
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            let is_secret = SECRETS.contains(&&*name);
            // Variables are stronger than the settings, which they are part of already.
            if name.starts_with("RENEWD_") && (self.temporary.is_some() || !is_secret) {
                command.env_remove(&*name);
            }
        }
        Ok(command)
    }

    /// As the user is told.
    fn describe(&self) -> String {
        let url = self.config.database_url();
        let engine = match url.split(':').next().unwrap_or_default() {
            "sqlite" => "SQLite",
            "mysql" | "mariadb" => "MariaDB or MySQL",
            _ => "PostgreSQL",
        };
        match &self.temporary {
            Some(folder) => format!("{engine} in {}", folder.path().display()),
            None => format!("{engine}, as the database URL says"),
        }
    }
}
