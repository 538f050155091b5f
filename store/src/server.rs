//! Stores that are servers of their own: PostgreSQL, and MariaDB or MySQL.

use std::{path::Path, time::Duration};

use sea_orm::{
    DbBackend, DbErr, SqlxMySqlConnector, SqlxPostgresConnector,
    sqlx::{
        ConnectOptions, Connection, Database, Executor as _, MySqlConnection,
        mysql::{MySqlConnectOptions, MySqlSslMode},
        pool::PoolOptions,
        postgres::{PgConnectOptions, PgSslMode},
    },
};
use sqlx::AssertSqlSafe;
use tokio::time::timeout;
use url::Url;

use crate::{
    Options, Tls,
    connections::{Connections, Limits},
    pool::without_leftovers,
};

/// Connections on which renewals are decided: one is used, the others are there for when it hangs.
const RENEWING: u32 = 3;
/// Connections on which it is looked whether the store answers and what has changed: never behind requests that hang.
const WATCHING: u32 = 2;
/// A connection that was idle for so long is tested before it is used: whatever is in between may have forgotten it.
const IDLE: Duration = Duration::from_secs(5);
/// How long that test may take.
const TEST: Duration = Duration::from_millis(300);
/// What the client waits beyond the server's own limit of a statement, for its refusal to arrive.
const ON_THE_WAY: Duration = Duration::from_millis(250);

/// The parameters of the URL of a PostgreSQL server that have a meaning, beside those in the form `options[…]`.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Connections to a server, by what they are for.
pub struct Server {
    pub requests: Connections,
    /// Renewals would starve among the requests.
    pub renewals: Connections,
    pub watching: Connections,
}

/// Opens connections.
pub async fn open(options: &Options) -> Result<Server, DbErr> {
    warn_of_unknown_parameters(&options.url);
    let server = Server {
        requests: connections(options, options.connections, &[])?,
        renewals: connections(options, RENEWING, BY_KEY)?,
        watching: connections(options, WATCHING, &[])?,
    };
    match server.requests.check().await {
        Ok(()) => Ok(server),
        Err(error) => Err(cause(options).await.unwrap_or(error)),
    }
}

/// Why no connection is to be had, if the driver tells: its pool tries again until the time is over, and then tells that.
async fn cause(options: &Options) -> Option<DbErr> {
    let connected = async {
        if options.url.starts_with("postgres") {
            postgres_options(options, &[])?
                .connect()
                .await?
                .close()
                .await
        } else {
            mysql_options(options)?.connect().await?.close().await
        }
    };
    let connected: Result<(), sqlx::Error> = timeout(TEST, connected).await.ok()?;
    connected.err().map(wrong)
}

/// The host and the port of a server, without the name and the password of its user.
pub fn address(url: &str) -> String {
    let Ok(url) = Url::parse(url) else {
        return "an unknown address".to_owned();
    };
    let port = match url.scheme() {
        "mysql" => 3306,
        _ => 5432,
    };
    let host = url.host_str().filter(|host| !host.is_empty());
    format!(
        "{}:{}",
        host.unwrap_or("localhost"),
        url.port().unwrap_or(port)
    )
}

fn wrong(error: sqlx::Error) -> DbErr {
    DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error.into()))
}

/// How long it may take to get a connection, and how long a statement of a few rows by their keys: a fraction of what an
/// operation has, so that it is tried again on another connection when one is silent.
pub fn patience(timeout: Duration) -> Duration {
    (timeout / 4).max(Duration::from_secs(1)).min(timeout)
}

/// What a PostgreSQL server is told that reads and writes sessions by their primary keys alone. Its planner knows neither how
/// many keys an array holds nor, in a young store, how many sessions there are, and would read them all.
const BY_KEY: &[(&str, &str)] = &[
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// The driver ignores them as well, and warns of them with their values, for which it is not listened to.
fn warn_of_unknown_parameters(url: &str) {
    let Ok(url) = Url::parse(url) else { return };
    if !url.scheme().starts_with("postgres") {
        return;
    }
    for (name, value) in url.query_pairs() {
        if !PARAMETERS.contains(&&*name) && !name.starts_with("options[") {
            // What has no value may be a part of one.
            let is_named = !value.is_empty();
            let name = if is_named { &*name } else { "***" };
            tracing::warn!(
                name,
                "database_url has a parameter that is unknown and ignored"
            );
        }
    }
}

fn connections(
    options: &Options,
    count: u32,
    planner: &'static [(&str, &str)],
) -> Result<Connections, DbErr> {
    let (timeout, limit) = (options.timeout, options.statement_timeout);
    let limits = Limits {
        count,
        timeout,
        statement: Some(limit + ON_THE_WAY),
        replaces_silent: true,
    };
    if options.url.starts_with("postgres") {
        let options = postgres_options(options, planner).map_err(wrong)?;
        let pool = one(timeout);
        Ok(Connections::new(limits, DbBackend::Postgres, move || {
            let pool = pool.clone().connect_lazy_with(options.clone());
            SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
        }))
    } else {
        let options = mysql_options(options).map_err(wrong)?;
        let pool = one(timeout).after_connect(move |connection, _| {
            Box::pin(async move { set_up_mysql(connection, limit).await })
        });
        Ok(Connections::new(limits, DbBackend::MySql, move || {
            let pool = pool.clone().connect_lazy_with(options.clone());
            SqlxMySqlConnector::from_sqlx_mysql_pool(pool)
        }))
    }
}

/// A pool of the driver with one connection.
fn one<DB: Database>(limit: Duration) -> PoolOptions<DB> {
    without_leftovers(PoolOptions::new())
        .max_connections(1)
        .acquire_timeout(patience(limit))
        // A connection is tested when it is given back; one that broke since is replaced when it fails.
        .test_before_acquire(false)
        .before_acquire(|connection: &mut DB::Connection, meta| {
            Box::pin(async move {
                // Nothing begins within something else, however that came to be.
                if connection.is_in_transaction() {
                    return Ok(false);
                }
                if meta.idle_for < IDLE {
                    return Ok(true);
                }
                let tested = timeout(TEST, connection.ping()).await;
                tested
                    .unwrap_or(Err(sqlx::Error::PoolTimedOut))
                    .map(|()| true)
            })
        })
}

fn postgres_options(
    options: &Options,
    planner: &'static [(&str, &str)],
) -> Result<PgConnectOptions, sqlx::Error> {
    let (tls, ca) = (options.tls, &*options.ca_file);
    let connect = options.url.parse()?;
    let connect = postgres(connect, options.statement_timeout, tls, ca);
    Ok(connect
        .options(planner.iter().copied())
        .disable_statement_logging())
}

fn mysql_options(options: &Options) -> Result<MySqlConnectOptions, sqlx::Error> {
    let connect = mysql(options.url.parse()?, options.tls, &options.ca_file);
    Ok(connect.disable_statement_logging())
}

fn postgres(options: PgConnectOptions, limit: Duration, tls: Tls, ca: &Path) -> PgConnectOptions {
    let limit = limit.as_millis().to_string();
    let options = options.application_name("renewd").options([
        ("statement_timeout", limit.as_str()),
        ("lock_timeout", limit.as_str()),
        // A guarded update decides by what is true when it gets the row, not by what was when it began.
        ("default_transaction_isolation", "read committed"),
    ]);
    let options = match tls {
        Tls::Url => options,
        Tls::Disable => options.ssl_mode(PgSslMode::Disable),
        Tls::Prefer => options.ssl_mode(PgSslMode::Prefer),
        Tls::Require => options.ssl_mode(PgSslMode::Require),
        Tls::VerifyCa => options.ssl_mode(PgSslMode::VerifyCa),
        Tls::VerifyFull => options.ssl_mode(PgSslMode::VerifyFull),
    };
    if ca.as_os_str().is_empty() {
        options
    } else {
        options.ssl_root_cert(ca)
    }
}

fn mysql(options: MySqlConnectOptions, tls: Tls, ca: &Path) -> MySqlConnectOptions {
    let options = options.charset("utf8mb4");
    let options = match tls {
        Tls::Url => options,
        Tls::Disable => options.ssl_mode(MySqlSslMode::Disabled),
        Tls::Prefer => options.ssl_mode(MySqlSslMode::Preferred),
        Tls::Require => options.ssl_mode(MySqlSslMode::Required),
        Tls::VerifyCa => options.ssl_mode(MySqlSslMode::VerifyCa),
        Tls::VerifyFull => options.ssl_mode(MySqlSslMode::VerifyIdentity),
    };
    if ca.as_os_str().is_empty() {
        options
    } else {
        options.ssl_ca(ca)
    }
}

async fn set_up_mysql(
    connection: &mut MySqlConnection,
    limit: Duration,
) -> Result<(), sqlx::Error> {
    let (millis, seconds) = (limit.as_millis(), limit.as_secs().max(1));
    connection
        .execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        .await?;
    // The comments are read by MariaDB alone, and by MySQL alone.
    let limits = format!(
        "SET SESSION innodb_lock_wait_timeout = {seconds} /*M!100100 , max_statement_time = {seconds} */ \
         /*!80000 , max_execution_time = {millis} */"
    );
    connection.execute(AssertSqlSafe(limits)).await?;
    // TiDB can let a transaction find out at its COMMIT that others were in its way, as if nothing had been locked.
    let tidb = "SHOW VARIABLES WHERE variable_name = 'tidb_txn_mode'";
    if connection.fetch_optional(tidb).await?.is_some() {
        connection
            .execute("SET SESSION tidb_txn_mode = 'pessimistic'")
            .await?;
    }
    let galera = "SHOW VARIABLES WHERE variable_name = 'wsrep_on' AND value = 'ON'";
    if connection.fetch_optional(galera).await?.is_some() {
        // Each transaction begins by all that was committed on any node of the cluster: what another node has just renewed
        // would look like a reuse, what it has just signed out would look live.
        connection
            .execute("SET SESSION wsrep_sync_wait = 7")
            .await?;
    }
    Ok(())
}
