//! The statements of the write path: few for any number of sessions, and of few different texts, so that they are prepared
//! once. Here, the engines differ most.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use entity::{AppId, SessionId, app, session};
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, IntoActiveModel, Iterable,
    QueryTrait, Statement, Value, sea_query::ArrayType,
};
use store::Transaction;

use super::row::{COLUMNS, Column, GUARDS, Row};

/// Bytes of a statement to a server. A longer one goes in several records of TLS, and each but the first would wait for the
/// receipt of the one before: the driver leaves Nagle's algorithm on.
const RECORD: usize = 12_000;

/// What is true when a transaction of the write path begins.
#[derive(Debug, Default)]
pub struct Stored {
    /// The changes so far of the apps of the sessions, and of those that were asked for.
    pub epochs: BTreeMap<AppId, i64>,
    pub sessions: Vec<session::Model>,
}

/// The sessions of these ids, those that there are, of any app: the caller compares the app; with the epochs of their apps,
/// and of `apps`. Where all are asked for by one app, `only`, its epoch is read once for all. One statement wherever that can
/// be, because each is a round trip.
pub async fn read(
    db: &Transaction,
    ids: &[SessionId],
    only: Option<AppId>,
    apps: &BTreeSet<AppId>,
) -> Result<Stored, DbErr> {
    let mut stored = Stored::default();
    if let Some(last) = ids.last() {
        let rows = db.query_all_raw(select(db, ids, *last, only)).await?;
        stored.sessions.reserve_exact(rows.len());
        for row in &rows {
            let session = session::Model::from_query_result(row, "")?;
            let app = only.unwrap_or(session.app_id);
            if let Entry::Vacant(vacant) = stored.epochs.entry(app)
                // None of a purged app.
                && let Some(epoch) = row.try_get("", "epoch")?
            {
                vacant.insert(epoch);
            }
            stored.sessions.push(session);
        }
    }
    let unknown = apps.iter().filter(|id| !stored.epochs.contains_key(id));
    let unknown: Vec<_> = unknown.copied().collect();
    if !unknown.is_empty() {
        stored.epochs.extend(app::epochs(db, &unknown).await?);
    }
    Ok(stored)
}

fn select(db: &Transaction, ids: &[SessionId], last: SessionId, only: Option<AppId>) -> Statement {
    let columns: Vec<_> = session::Column::iter()
        .map(|column| sea_orm::IdenStatic::as_str(&column).to_owned())
        .collect();
    let backend = db.get_database_backend();
    let app = match (only, backend) {
        (None, _) => "session.app_id",
        (Some(_), DbBackend::Postgres) => "$1",
        (Some(_), _) => "?",
    };
    let select = format!(
        "SELECT (SELECT epoch FROM app WHERE app.id = {app}) AS epoch, {} FROM session WHERE id",
        columns.join(", ")
    );
    let mut values: Vec<_> = only.iter().map(|id| Value::from(id.to_string())).collect();
    let texts = ids.iter().map(|id| Value::from(id.to_string()));
    let sql = if backend == DbBackend::Postgres {
        values.push(Value::Array(
            ArrayType::String,
            Some(Box::new(texts.collect())),
        ));
        format!("{select} = ANY(${})", values.len())
    } else {
        let count = places(ids.len());
        let rest = std::iter::repeat_n(last.to_string(), count - ids.len()).map(Value::from);
        values.extend(texts.chain(rest));
        format!("{select} IN ({})", vec!["?"; count].join(", "))
    };
    Statement::from_sql_and_values(backend, sql, values)
}

// OR FAIL, here and below: the caller gives the transaction up after an error, so that no copies are kept for undoing the
// statement alone.

/// Adds sessions.
pub async fn insert(db: &Transaction, rows: &[&session::Model]) -> Result<(), DbErr> {
    let bytes = |row: &&session::Model| 600 + row.claims.len() + row.user_agent.len();
    for mut rest in records(db, rows, bytes) {
        while !rest.is_empty() {
            let (chunk, others) = rest.split_at(1 << rest.len().ilog2());
            let models = chunk.iter().map(|&row| row.clone().into_active_model());
            let mut statement =
                session::Entity::insert_many(models).build(db.get_database_backend());
            if statement.db_backend == DbBackend::Sqlite {
                statement.sql = statement.sql.replacen("INSERT", "INSERT OR FAIL", 1);
            }
            db.execute_raw(statement).await?;
            rest = others;
        }
    }
    Ok(())
}

/// Writes each row over the one that was read, if nobody wrote in between; `false` when somebody did, with any of them: then
/// the transaction is to be given up.
pub async fn advance(db: &Transaction, rows: &[&Row]) -> Result<bool, DbErr> {
    let (stay, move_on): (Vec<_>, Vec<_>) =
        rows.iter().copied().partition(|row| !row.is_kept_longer());
    for (rows, columns) in [
        (stay, &COLUMNS[..COLUMNS.len() - 1]),
        (move_on, &COLUMNS[..]),
    ] {
        let bytes = |row: &&Row| 400 + row.session.ip.len() + row.session.user_agent.len();
        for rows in records(db, &rows, bytes) {
            if !write(db, rows, columns).await? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Cuts what is sent to a server into pieces that each fit into one record; what the embedded store takes stays whole.
fn records<'a, T>(db: &Transaction, items: &'a [T], bytes: impl Fn(&T) -> usize) -> Vec<&'a [T]> {
    if db.get_database_backend() == DbBackend::Sqlite {
        return vec![items];
    }
    let (mut pieces, mut start, mut size) = (Vec::new(), 0, 0);
    for (index, item) in items.iter().enumerate() {
        size += bytes(item);
        if size > RECORD && index > start {
            pieces.push(&items[start..index]);
            (start, size) = (index, bytes(item));
        }
    }
    pieces.push(&items[start..]);
    pieces
}

/// Places in a statement for `count` rows, the last of which fills what is left over: no text is prepared for each number,
/// and few places are wasted.
fn places(count: usize) -> usize {
    count.next_multiple_of((count.next_power_of_two() / 8).max(1))
}

async fn write(db: &Transaction, rows: &[&Row], columns: &[Column]) -> Result<bool, DbErr> {
    let Some(last) = rows.last() else {
        return Ok(true);
    };
    let backend = db.get_database_backend();
    let statement = if backend == DbBackend::Postgres {
        postgres(rows, columns)
    } else {
        let count = places(rows.len());
        let rest = std::iter::repeat_n(last, count - rows.len());
        let values = rows
            .iter()
            .chain(rest)
            .flat_map(|row| columns.iter().map(|column| (column.value)(row)));
        let sql = if backend == DbBackend::MySql {
            mysql(count, columns)
        } else {
            sqlite(count, columns)
        };
        Statement::from_sql_and_values(backend, sql, values)
    };
    let written = db.execute_raw(statement).await?.rows_affected();
    Ok(written == rows.len() as u64)
}

fn sqlite(rows: usize, columns: &[Column]) -> String {
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    let set: Vec<_> = columns
        .iter()
        .enumerate()
        .skip(GUARDS)
        .map(|(index, column)| format!("{} = v.column{}", column.name, index + 1))
        .collect();
    format!(
        "UPDATE OR FAIL session SET {} FROM (VALUES {}) AS v \
         WHERE session.id = v.column1 AND session.token_id = v.column2 AND session.revoked_at IS NULL",
        set.join(", "),
        vec![row; rows].join(", "),
    )
}

fn mysql(rows: usize, columns: &[Column]) -> String {
    let named: Vec<_> = columns
        .iter()
        .map(|column| format!("? AS {}", column.name))
        .collect();
    let others = vec!["?"; named.len()].join(", ");
    let mut selects = vec![format!("SELECT {}", named.join(", "))];
    selects.resize(rows, format!("SELECT {others}"));
    let set: Vec<_> = columns[GUARDS..]
        .iter()
        .map(|column| format!("s.{name} = v.{name}", name = column.name))
        .collect();
    format!(
        "UPDATE session s JOIN ({}) v ON s.id = v.id SET {} WHERE s.token_id = v.was AND s.revoked_at IS NULL",
        selects.join(" UNION ALL "),
        set.join(", "),
    )
}

/// An array a column.
fn postgres(rows: &[&Row], columns: &[Column]) -> Statement {
    let types: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| format!("${}::{}", index + 1, column.array_type()))
        .collect();
    let names: Vec<_> = columns.iter().map(|column| column.name).collect();
    let set: Vec<_> = columns[GUARDS..]
        .iter()
        .map(|column| format!("{} = {}", column.name, column.unpacked()))
        .collect();
    let sql = format!(
        "UPDATE session SET {} FROM UNNEST({}) AS v({}) \
         WHERE session.id = v.id AND session.token_id = v.was AND session.revoked_at IS NULL",
        set.join(", "),
        types.join(", "),
        names.join(", "),
    );
    let arrays = columns.iter().map(|column| column.array(rows));
    Statement::from_sql_and_values(DbBackend::Postgres, sql, arrays)
}
