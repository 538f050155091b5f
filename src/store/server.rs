//! Stores that are servers of their own: PostgreSQL, and MariaDB or MySQL.

use std::{path::Path, time::Duration};

use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbErr,
    sqlx::{
        Executor as _, MySqlConnection,
        mysql::{MySqlConnectOptions, MySqlSslMode},
        postgres::{PgConnectOptions, PgSslMode},
    },
};
use sqlx::AssertSqlSafe;

use crate::config::{Config, DatabaseTls};

/// Connections on which renewals are decided: one is used, the others are there for when it hangs.
const RENEWING: u32 = 3;

/// Opens connections for requests, and some of their own for renewals, which would starve among them.
pub async fn open(config: &Config) -> Result<(DatabaseConnection, DatabaseConnection), DbErr> {
    let requests = connect(config, config.database_connections, &[]).await?;
    let renewals = connect(config, RENEWING, BY_KEY).await?;
    Ok((requests, renewals))
}

/// What a PostgreSQL server is told that reads and writes sessions by their primary keys alone. Its planner knows neither how
/// many keys an array holds nor, in a young store, how many sessions there are, and would read them all.
const BY_KEY: &[(&str, &str)] = &[
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

async fn connect(
    config: &Config,
    connections: u32,
    planner: &'static [(&str, &str)],
) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(config.database_url());
    options
        .min_connections(1)
        .max_connections(connections)
        .acquire_timeout(config.database_timeout())
        // A connection is tested when it is given back; one that broke since is replaced when it fails.
        .test_before_acquire(false)
        .sqlx_logging(false);
    let (tls, ca) = (config.database_tls, config.database_ca_file.clone());
    let limit = config.database_statement_timeout();
    options
        .map_sqlx_postgres_opts({
            let ca = ca.clone();
            move |options| postgres(options, limit, tls, &ca).options(planner.iter().copied())
        })
        .map_sqlx_mysql_opts(move |options| mysql(options, tls, &ca))
        .map_sqlx_mysql_pool_opts(move |options| {
            options.after_connect(move |connection, _| {
                Box::pin(async move { set_up_mysql(connection, limit).await })
            })
        });
    Database::connect(options).await
}

fn postgres(
    options: PgConnectOptions,
    limit: Duration,
    tls: DatabaseTls,
    ca: &Path,
) -> PgConnectOptions {
    let limit = limit.as_millis().to_string();
    let options = options.application_name("renewd").options([
        ("statement_timeout", limit.as_str()),
        ("lock_timeout", limit.as_str()),
        // A guarded update decides by what is true when it gets the row, not by what was when it began.
        ("default_transaction_isolation", "read committed"),
    ]);
    let options = match tls {
        DatabaseTls::Url => options,
        DatabaseTls::Disable => options.ssl_mode(PgSslMode::Disable),
        DatabaseTls::Prefer => options.ssl_mode(PgSslMode::Prefer),
        DatabaseTls::Require => options.ssl_mode(PgSslMode::Require),
        DatabaseTls::VerifyCa => options.ssl_mode(PgSslMode::VerifyCa),
        DatabaseTls::VerifyFull => options.ssl_mode(PgSslMode::VerifyFull),
    };
    if ca.as_os_str().is_empty() {
        options
    } else {
        options.ssl_root_cert(ca)
    }
}

fn mysql(options: MySqlConnectOptions, tls: DatabaseTls, ca: &Path) -> MySqlConnectOptions {
    let options = options.charset("utf8mb4");
    let options = match tls {
        DatabaseTls::Url => options,
        DatabaseTls::Disable => options.ssl_mode(MySqlSslMode::Disabled),
        DatabaseTls::Prefer => options.ssl_mode(MySqlSslMode::Preferred),
        DatabaseTls::Require => options.ssl_mode(MySqlSslMode::Required),
        DatabaseTls::VerifyCa => options.ssl_mode(MySqlSslMode::VerifyCa),
        DatabaseTls::VerifyFull => options.ssl_mode(MySqlSslMode::VerifyIdentity),
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
