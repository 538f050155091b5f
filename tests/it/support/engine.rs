//! The engine under test: the embedded store, or a server on which each test has a database of its own.

use std::{
    collections::HashMap,
    env,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::{Mutex, PoisonError},
};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend};

/// Names the engine under test: the URLs of its nodes, joined by commas. Without it, the embedded store is under test.
pub const ENGINE: &str = "RENEWD_TEST_ENGINE";
/// The PEM file of the authority of the servers' certificates.
pub const CA_FILE: &str = "RENEWD_TEST_DATABASE_CA_FILE";
/// What the name of every database of the tests begins with.
const PREFIX: &str = "renewd_it_";

/// The nodes of the engine under test; none when it is the embedded one.
pub fn nodes() -> Vec<String> {
    let urls = env::var(ENGINE).unwrap_or_default();
    let urls = urls.split(',').filter(|url| !url.is_empty());
    urls.map(str::to_owned).collect()
}

/// The kind of the engine under test.
pub fn backend() -> DbBackend {
    match nodes().first() {
        None => DbBackend::Sqlite,
        Some(url) if url.starts_with("mysql") => DbBackend::MySql,
        Some(_) => DbBackend::Postgres,
    }
}

/// What of three the engine under test understands.
pub fn sql<'a>(sqlite: &'a str, postgres: &'a str, mysql: &'a str) -> &'a str {
    match backend() {
        DbBackend::Postgres => postgres,
        DbBackend::MySql => mysql,
        _ => sqlite,
    }
}

/// Where the servers with this data directory have their store: on a database that is made at the first call, each server
/// by way of another node. Empty for the embedded store. Without TLS unless a test asks for it (`connections.rs`): the driver leaves
/// Nagle's algorithm on, so that a handshake waits twice for 40 ms, and a test opens many connections.
pub fn database_url(data: &Path) -> String {
    static CALLS: Mutex<Option<HashMap<String, usize>>> = Mutex::new(None);
    let nodes = nodes();
    if nodes.is_empty() {
        return String::new();
    }
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    let name = format!("{PREFIX}{}_{:016x}", std::process::id(), hasher.finish());
    // On PostgreSQL a database takes a second to make, and a schema is as good.
    let is_mysql = backend() == DbBackend::MySql;
    let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    let call = calls
        .get_or_insert_default()
        .entry(name.clone())
        .or_insert(0);
    if *call == 0 {
        let kind = if is_mysql { "DATABASE" } else { "SCHEMA" };
        execute(&nodes[0], vec![format!("CREATE {kind} {name}")]);
    }
    let node = &nodes[*call % nodes.len()];
    *call += 1;
    if is_mysql {
        let (server, _) = node.rsplit_once('/').unwrap();
        without_tls(&format!("{server}/{name}"))
    } else {
        format!("{}&options[search_path]={name}", without_tls(node))
    }
}

fn without_tls(url: &str) -> String {
    if url.contains('?') {
        return url.to_owned();
    }
    let name = if url.starts_with("mysql") {
        "ssl-mode=disabled"
    } else {
        "sslmode=disable"
    };
    format!("{url}?{name}")
}

/// A connection to the store of the servers with this data directory.
pub async fn connect(data: &Path) -> DatabaseConnection {
    let url = match database_url(data) {
        url if url.is_empty() => format!("sqlite://{}/renewd.db", data.display()),
        url => url,
    };
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    let db = Database::connect(options).await.unwrap();
    // What was committed by way of another node of a cluster is to be seen, as renewd itself sees it.
    run(&db, &[["", "", "SET SESSION wsrep_sync_wait = 7"]]).await;
    db
}

/// Runs each of these statements, the one that the engine under test understands.
pub async fn run(db: &impl ConnectionTrait, statements: &[[&str; 3]]) {
    for [sqlite, postgres, mysql] in statements {
        let statement = sql(sqlite, postgres, mysql);
        if !statement.is_empty() {
            db.execute_unprepared(statement).await.unwrap();
        }
    }
}

/// From now on `event`, such as BEFORE UPDATE, on the table fails, with `cause` for the log: a defect, as far as the server
/// can tell.
pub async fn poison(db: &impl ConnectionTrait, event: &str, table: &str, cause: &str) {
    let when = format!("CREATE TRIGGER poison {event} ON {table}");
    run(
        db,
        &[
            ["", &raising(cause), ""],
            [
                &format!("{when} BEGIN SELECT RAISE(ABORT, '{cause}'); END"),
                &format!("{when} FOR EACH ROW EXECUTE FUNCTION poison()"),
                &format!(
                    "{when} FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{cause}'"
                ),
            ],
        ],
    )
    .await;
}

/// From now on no transaction that changes a session is committed. Where an engine has no trigger that waits for the commit,
/// the change itself fails.
pub async fn poison_commit(db: &impl ConnectionTrait) {
    run(
        db,
        &[
            [
                "CREATE TABLE poisoned (id TEXT REFERENCES app (id) DEFERRABLE INITIALLY DEFERRED)",
                &raising("no"),
                "",
            ],
            [
                "CREATE TRIGGER poison AFTER UPDATE ON session BEGIN INSERT INTO poisoned VALUES ('none'); END",
                "CREATE CONSTRAINT TRIGGER poison AFTER UPDATE ON session DEFERRABLE INITIALLY DEFERRED \
                 FOR EACH ROW EXECUTE FUNCTION poison()",
                "CREATE TRIGGER poison AFTER UPDATE ON session FOR EACH ROW SIGNAL SQLSTATE '45000'",
            ],
        ],
    )
    .await;
}

fn raising(cause: &str) -> String {
    let body = format!("BEGIN RAISE EXCEPTION '{cause}'; END").replace('\'', "''");
    format!("CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS '{body}'")
}

/// The table can be changed again.
pub async fn cure(db: &impl ConnectionTrait, table: &str) {
    let on = format!("DROP TRIGGER poison ON {table}");
    run(
        db,
        &[
            ["DROP TRIGGER poison", &on, "DROP TRIGGER poison"],
            ["", "DROP FUNCTION poison", ""],
        ],
    )
    .await;
}

/// Removes the databases that the tests of a process made on a server.
pub fn drop_databases(url: &str, process: u32) {
    let (list, drop) = if url.starts_with("mysql") {
        let list = "SELECT schema_name AS name FROM information_schema.schemata";
        (list, "DROP DATABASE {}")
    } else {
        let list = "SELECT nspname::text AS name FROM pg_namespace";
        (list, "DROP SCHEMA {} CASCADE")
    };
    let prefix = format!("{PREFIX}{process}_");
    let names = query(url, list);
    let drops = names
        .iter()
        .filter(|name| name.starts_with(&prefix))
        .map(|name| drop.replace("{}", name));
    execute(url, drops.collect());
}

/// Runs these statements on a connection of their own.
pub fn execute(url: &str, statements: Vec<String>) {
    on_a_thread(url, async move |db| {
        for statement in statements {
            db.execute_unprepared(&statement).await.unwrap();
        }
    });
}

fn query(url: &str, sql: &'static str) -> Vec<String> {
    on_a_thread(url, async move |db| {
        let statement = sea_orm::Statement::from_string(db.get_database_backend(), sql);
        let rows = db.query_all_raw(statement).await.unwrap();
        let names = rows.iter().map(|row| row.try_get("", "name").unwrap());
        names.collect()
    })
}

/// On a thread with a runtime of its own: called by tests with and without one.
fn on_a_thread<T: Send + 'static>(
    url: &str,
    work: impl AsyncFnOnce(DatabaseConnection) -> T + Send + 'static,
) -> T {
    let url = without_tls(url);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut options = ConnectOptions::new(url);
            options.max_connections(1).sqlx_logging(false);
            let db = Database::connect(options).await.unwrap();
            let done = work(db.clone()).await;
            db.close().await.unwrap();
            done
        })
    });
    thread.join().unwrap()
}
