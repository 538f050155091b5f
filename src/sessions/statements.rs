//! The statements of the write path: few, whatever the number of sessions, and of few different texts, so that they are
//! prepared once. Here, the engines differ most.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use entity::{AppId, SessionId, Timestamp, TokenId, app, session};
use sea_orm::{
    ActiveEnum, ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, IntoActiveModel,
    Iterable, QueryTrait, Statement, Value, sea_query::ArrayType,
};
use store::Transaction;

/// What an update writes, after the id and the token that guard it; the last one only where it changes, because it alone has
/// an index.
const WRITTEN: [&str; 16] = [
    "ip",
    "user_agent",
    "token_id",
    "key_id",
    "parent_id",
    "parent_until",
    "generation",
    "issued_at",
    "auth_not_before",
    "auth_expires_at",
    "not_before",
    "expires_at",
    "refresh_mac",
    "revoked_at",
    "revoked_for",
    "purge_at",
];

/// Bytes of a statement to a server. A longer one goes in several records of TLS, and each but the first would wait for the
/// receipt of the one before: the driver leaves Nagle's algorithm on.
const RECORD: usize = 12_000;

/// A row that was read, and what is made of it.
#[derive(Debug)]
pub struct Row {
    pub session: session::Model,
    token_id: TokenId,
    was_revoked: bool,
    purge_at: Timestamp,
}

impl Row {
    /// As it was read.
    pub fn new(session: session::Model) -> Self {
        Self {
            token_id: session.token_id,
            was_revoked: session.is_revoked(),
            purge_at: session.purge_at,
            session,
        }
    }

    /// Whether there is something to write: what a renewal does to a row goes with another token, what ends it revokes it.
    pub fn is_changed(&self) -> bool {
        self.session.token_id != self.token_id || self.session.is_revoked() != self.was_revoked
    }
}

/// What is true when a transaction of the write path begins.
#[derive(Debug, Default)]
pub struct Stored {
    /// The changes so far of the apps of the sessions, and of those that were asked for.
    pub epochs: BTreeMap<AppId, i64>,
    pub sessions: Vec<session::Model>,
}

/// The sessions of these ids, those that there are, of any app: whoever calls compares the app; with the epochs of their apps,
/// and of `apps`. Where all are asked for by one app, `only`, its epoch is read once for all. One statement wherever that can
/// be, because each is a round trip.
///
/// # Errors
/// Those of the store.
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

// OR FAIL, here and below: whoever gets an error gives the transaction up, so that no copies are kept for undoing the
// statement alone.

/// Adds sessions.
///
/// # Errors
/// Those of the store.
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
///
/// # Errors
/// Those of the store.
pub async fn advance(db: &Transaction, rows: &[&Row]) -> Result<bool, DbErr> {
    let (stay, move_on): (Vec<_>, Vec<_>) = rows
        .iter()
        .copied()
        .partition(|row| row.session.purge_at == row.purge_at);
    for (rows, columns) in [
        (stay, &WRITTEN[..WRITTEN.len() - 1]),
        (move_on, &WRITTEN[..]),
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

async fn write(db: &Transaction, rows: &[&Row], columns: &[&str]) -> Result<bool, DbErr> {
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
            .flat_map(|row| values(row).into_iter().take(2 + columns.len()));
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

/// The id, the token that was read, and what is written.
fn values(row: &Row) -> [Value; 2 + WRITTEN.len()] {
    let millis = |time: Timestamp| time.as_millis();
    let after = &row.session;
    [
        after.id.to_string().into(),
        row.token_id.to_string().into(),
        after.ip.clone().into(),
        after.user_agent.clone().into(),
        after.token_id.to_string().into(),
        after.key_id.to_string().into(),
        after.parent_id.map(|id| id.to_string()).into(),
        after.parent_until.map(millis).into(),
        after.generation.into(),
        millis(after.issued_at).into(),
        millis(after.auth_not_before).into(),
        millis(after.auth_expires_at).into(),
        millis(after.not_before).into(),
        millis(after.expires_at).into(),
        after
            .refresh_mac
            .as_ref()
            .map(|mac| mac.as_bytes().to_vec())
            .into(),
        after.revoked_at.map(millis).into(),
        after.revoked_for.map(|reason| reason.to_value()).into(),
        millis(after.purge_at).into(),
    ]
}

fn sqlite(rows: usize, columns: &[&str]) -> String {
    let row = format!("({})", vec!["?"; 2 + columns.len()].join(", "));
    let set: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| format!("{column} = v.column{}", index + 3))
        .collect();
    format!(
        "UPDATE OR FAIL session SET {} FROM (VALUES {}) AS v \
         WHERE session.id = v.column1 AND session.token_id = v.column2 AND session.revoked_at IS NULL",
        set.join(", "),
        vec![row; rows].join(", "),
    )
}

fn mysql(rows: usize, columns: &[&str]) -> String {
    let named: Vec<_> = ["id", "was"]
        .iter()
        .chain(columns)
        .map(|column| format!("? AS {column}"))
        .collect();
    let others = vec!["?"; named.len()].join(", ");
    let mut selects = vec![format!("SELECT {}", named.join(", "))];
    selects.resize(rows, format!("SELECT {others}"));
    let set: Vec<_> = columns
        .iter()
        .map(|column| format!("s.{column} = v.{column}"))
        .collect();
    format!(
        "UPDATE session s JOIN ({}) v ON s.id = v.id SET {} WHERE s.token_id = v.was AND s.revoked_at IS NULL",
        selects.join(" UNION ALL "),
        set.join(", "),
    )
}

/// An array a column. An array has no room for a missing value: an empty text and -1 stand for it, which nothing else is.
fn postgres(rows: &[&Row], columns: &[&str]) -> Statement {
    let rows: Vec<_> = rows.iter().map(|row| values(row)).collect();
    let mut arrays = Vec::with_capacity(2 + columns.len());
    let (mut types, mut set) = (Vec::new(), Vec::new());
    for index in 0..2 + columns.len() {
        let is_number = matches!(rows[0][index], Value::BigInt(_));
        let column: Vec<Value> = rows.iter().map(|row| present(&row[index])).collect();
        let (array, name, missing) = if is_number {
            (ArrayType::BigInt, "int8", "-1")
        } else {
            (ArrayType::String, "text", "''")
        };
        arrays.push(Value::Array(array, Some(Box::new(column))));
        types.push(format!("${}::{name}[]", index + 1));
        let Some(column) = index.checked_sub(2).map(|index| columns[index]) else {
            continue;
        };
        set.push(match column {
            "refresh_mac" => "refresh_mac = decode(NULLIF(v.refresh_mac, ''), 'hex')".to_owned(),
            "parent_id" | "parent_until" | "revoked_at" | "revoked_for" => {
                format!("{column} = NULLIF(v.{column}, {missing})")
            }
            _ => format!("{column} = v.{column}"),
        });
    }
    let sql = format!(
        "UPDATE session SET {} FROM UNNEST({}) AS v(id, was, {}) \
         WHERE session.id = v.id AND session.token_id = v.was AND session.revoked_at IS NULL",
        set.join(", "),
        types.join(", "),
        columns.join(", "),
    );
    Statement::from_sql_and_values(DbBackend::Postgres, sql, arrays)
}

fn present(value: &Value) -> Value {
    match value {
        Value::BigInt(None) => Value::BigInt(Some(-1)),
        Value::String(None) | Value::Bytes(None) => Value::String(Some(String::new())),
        Value::Bytes(Some(bytes)) => {
            let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
            Value::String(Some(hex.collect()))
        }
        other => other.clone(),
    }
}
