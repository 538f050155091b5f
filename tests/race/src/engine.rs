//! The database engines, which `scripts/engines` runs, and the database of a run.

use std::{io, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use clap::ValueEnum;
use tokio::{process::Command, time::timeout};

/// How long an engine may take to do what it is asked: a cluster node waits for its data.
const PATIENCE: Duration = Duration::from_secs(180);
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/engines");
/// Names another script that does the same, with engines of its own.
const OTHER_SCRIPT: &str = "RACE_ENGINES";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The embedded store: one file, which all processes share.
    Sqlite,
    Postgres,
    Mariadb,
    /// A cluster of three; node i of renewd talks to node i mod 3 of it.
    Galera,
    /// PostgreSQL of three members in the synchronous mode of Patroni; every node of renewd is led to the primary.
    Patroni,
}

/// A database of the run's own.
#[derive(Debug)]
pub struct Database {
    engine: Engine,
    name: String,
    servers: Vec<Server>,
}

/// One server of an engine.
#[derive(Debug)]
struct Server {
    /// Up to the host: `scheme://user:password@`.
    login: String,
    address: SocketAddr,
}

impl Engine {
    /// What `scripts/engines` calls its servers.
    pub fn servers(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &[],
            Self::Postgres => &["postgres"],
            Self::Mariadb => &["mariadb"],
            Self::Galera => &["galera1", "galera2", "galera3"],
            Self::Patroni => &["patroni1", "patroni2", "patroni3"],
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Mariadb => "mariadb",
            Self::Galera => "galera",
            Self::Patroni => "patroni",
        }
    }

    fn is_postgres(self) -> bool {
        matches!(self, Self::Postgres | Self::Patroni)
    }

    /// Runs what does not run, and waits until all take part.
    pub async fn start(self) -> io::Result<()> {
        if self == Self::Sqlite {
            return Ok(());
        }
        engines("start", &[self.name()]).await.map(|_| ())
    }

    /// SIGKILL to one of its servers.
    pub async fn kill(self, server: usize) -> io::Result<()> {
        self.act("kill", server).await
    }

    /// Restarts one of its servers in an orderly way, or just starts it; waits until it takes part.
    pub async fn restart(self, server: usize) -> io::Result<()> {
        self.act("restart", server).await
    }

    /// SIGSTOP to one of its servers: it holds what it holds, and says nothing.
    pub async fn freeze(self, server: usize) -> io::Result<()> {
        self.act("freeze", server).await
    }

    pub async fn thaw(self, server: usize) -> io::Result<()> {
        self.act("thaw", server).await
    }

    /// Takes one of its servers off the others, but not off the nodes.
    pub async fn cut(self, server: usize) -> io::Result<()> {
        self.act("cut", server).await
    }

    pub async fn mend(self, server: usize) -> io::Result<()> {
        self.act("mend", server).await
    }

    /// Which server is the primary, if one says so.
    pub async fn primary(self) -> io::Result<Option<usize>> {
        let names = engines("leader", &[]).await?;
        let first = names.lines().next().unwrap_or_default();
        let place = self.servers().iter().position(|name| *name == first);
        Ok(place)
    }

    async fn act(self, action: &str, server: usize) -> io::Result<()> {
        let name = &self.servers()[server..=server];
        engines(action, name).await.map(|_| ())
    }
}

impl Database {
    /// Starts the engine, and makes an empty database in it.
    pub async fn create(engine: Engine) -> io::Result<Self> {
        engine.start().await?;
        let mut servers = Vec::new();
        if engine != Engine::Sqlite {
            let urls = engines("urls", &[engine.name()]).await?;
            for url in urls.trim().split(',') {
                servers.push(Server::read(url)?);
            }
        }
        let database = Self {
            engine,
            name: format!("race_{}", std::process::id()),
            servers,
        };
        database.run("CREATE DATABASE").await?;
        Ok(database)
    }

    pub async fn remove(&self) -> io::Result<()> {
        self.run("DROP DATABASE").await
    }

    /// Where the node's connections go.
    pub fn upstream(&self, node: usize) -> Option<SocketAddr> {
        Some(self.server(node)?.address)
    }

    /// What the node connects to: `through` in place of the server.
    pub fn url(&self, node: usize, through: Option<SocketAddr>, run: &Path) -> String {
        let Some(server) = self.server(node) else {
            return format!("sqlite://{}?mode=rwc", run.join("renewd.db").display());
        };
        let address = through.unwrap_or(server.address);
        // In plain text, so that the proxy knows a commit when it sees one.
        let plain = match self.engine {
            Engine::Postgres | Engine::Patroni => "sslmode=disable",
            _ => "ssl-mode=disabled",
        };
        format!("{}{address}/{}?{plain}", server.login, self.name)
    }

    fn server(&self, node: usize) -> Option<&Server> {
        self.servers.get(node.checked_rem(self.servers.len())?)
    }

    async fn run(&self, verb: &str) -> io::Result<()> {
        let Some(server) = self.servers.first() else {
            return Ok(());
        };
        let mut sql = format!("{verb} {}", self.name);
        // A node that was killed may still have its connections.
        if self.engine.is_postgres() && verb.starts_with("DROP") {
            sql.push_str(" WITH (FORCE)");
        }
        self.query(server, &sql).await
    }

    /// For `window`, one server of a cluster takes part but applies nothing of what the others write: what is read there
    /// is old. An error is none of the run's: the server may be down.
    pub async fn lag(&self, server: usize, window: Duration) -> io::Result<()> {
        let Some(server) = self.servers.get(server) else {
            return Ok(());
        };
        let seconds = window.as_secs_f64();
        let sql = format!("FLUSH TABLES WITH READ LOCK; DO SLEEP({seconds}); UNLOCK TABLES");
        self.query(server, &sql).await
    }

    async fn query(&self, server: &Server, sql: &str) -> io::Result<()> {
        let mut client;
        if self.engine.is_postgres() {
            client = Command::new("psql");
            let url = format!("{}{}/postgres", server.login, server.address);
            client.args(["-XAtq", "-c", sql, &url]);
        } else {
            let (user, password) = server.user();
            client = Command::new("mariadb");
            client
                .args(["--no-defaults", "--host=127.0.0.1", "--connect-timeout=2"])
                .arg(format!("--port={}", server.address.port()))
                .arg(format!("--user={user}"))
                .arg(format!("--execute={sql}"))
                .env("MYSQL_PWD", password);
        }
        finish(client, sql).await.map(|_| ())
    }
}

impl Server {
    fn read(url: &str) -> io::Result<Self> {
        let found = url.rsplit_once('@').and_then(|(login, rest)| {
            let address = rest.split('/').next()?.parse().ok()?;
            let login = format!("{login}@");
            Some(Self { login, address })
        });
        found.ok_or_else(|| io::Error::other(format!("scripts/engines printed no URL: {url}")))
    }

    fn user(&self) -> (&str, &str) {
        let login = self.login.trim_end_matches('@');
        let login = login.split_once("://").map_or(login, |(_, login)| login);
        login.split_once(':').unwrap_or((login, ""))
    }
}

async fn engines(action: &str, names: &[&str]) -> io::Result<String> {
    let path = std::env::var_os(OTHER_SCRIPT).unwrap_or(SCRIPT.into());
    let mut script = Command::new(path);
    script.arg(action).args(names);
    finish(script, &format!("scripts/engines {action}")).await
}

/// The output of a command that succeeds in time.
async fn finish(mut command: Command, what: &str) -> io::Result<String> {
    // To a file, not a pipe: a server that the script starts keeps what it inherits.
    let log = tempfile::tempfile()?;
    let output = command
        .stdin(Stdio::null())
        .stderr(log.try_clone()?)
        .stdout(log.try_clone()?)
        .kill_on_drop(true)
        .status();
    let failed = |why: String| io::Error::other(format!("{what}: {why}"));
    let status = timeout(PATIENCE, output)
        .await
        .map_err(|_| failed(format!("not done in {PATIENCE:?}")))?
        .map_err(|error| failed(error.to_string()))?;
    let text = read_back(log)?;
    if status.success() {
        Ok(text)
    } else {
        Err(failed(format!("{status}: {}", text.trim())))
    }
}

fn read_back(mut log: std::fs::File) -> io::Result<String> {
    use io::{Read, Seek};
    let mut text = String::new();
    log.rewind()?;
    log.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_go_through_the_proxy() {
        let server = Server::read("mysql://renewd:secret@127.0.0.1:23311/mysql").unwrap();
        assert_eq!(server.user(), ("renewd", "secret"));
        let database = Database {
            engine: Engine::Mariadb,
            name: "race_1".to_owned(),
            servers: vec![server],
        };
        let through = "127.0.0.1:9".parse().ok();
        assert_eq!(
            database.url(5, through, Path::new("/tmp")),
            "mysql://renewd:secret@127.0.0.1:9/race_1?ssl-mode=disabled"
        );
        assert!(Server::read("nothing").is_err());
    }
}
