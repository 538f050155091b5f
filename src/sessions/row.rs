//! A row of a session that is written again, and the columns of the statement that writes it.

use entity::{Timestamp, TokenId, session};
use sea_orm::{ActiveEnum, Value, sea_query::ArrayType};

/// A row that was read, and what is made of it.
#[derive(Debug)]
pub struct Row {
    pub session: session::Model,
    /// The live token, as it was read.
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

    /// Whether the row may go at another time than when it was read.
    pub fn is_kept_longer(&self) -> bool {
        self.session.purge_at != self.purge_at
    }

    /// Whether there is something to write: what a renewal does to a row goes with another token, what ends it revokes it.
    pub fn is_changed(&self) -> bool {
        self.session.token_id != self.token_id || self.session.is_revoked() != self.was_revoked
    }
}

/// A column of the statement that writes rows over those that were read.
pub(super) struct Column {
    pub name: &'static str,
    form: Form,
    is_nullable: bool,
    /// What is written of a row, or compared with it.
    pub value: fn(&Row) -> Value,
}

/// How PostgreSQL is given the values of a column: as one array.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Number,
    Bytes,
}

/// How many of the [`COLUMNS`] guard a row: they are compared, and not written.
pub(super) const GUARDS: usize = 2;

/// Those that guard a row, then those that are written; the last one only where it changes, because it alone has an index.
pub(super) const COLUMNS: [Column; 18] = [
    Column::text("id", |row| row.session.id.to_string().into()),
    Column::text("was", |row| row.token_id.to_string().into()),
    Column::text("ip", |row| row.session.ip.clone().into()),
    Column::text("user_agent", |row| row.session.user_agent.clone().into()),
    Column::text("token_id", |row| row.session.token_id.to_string().into()),
    Column::text("key_id", |row| row.session.key_id.to_string().into()),
    Column::text("parent_id", |row| text(row.session.parent_id)).nullable(),
    Column::number("parent_until", |row| time(row.session.parent_until)).nullable(),
    Column::number("generation", |row| row.session.generation.into()),
    Column::number("issued_at", |row| time(row.session.issued_at)),
    Column::number("auth_not_before", |row| time(row.session.auth_not_before)),
    Column::number("auth_expires_at", |row| time(row.session.auth_expires_at)),
    Column::number("not_before", |row| time(row.session.not_before)),
    Column::number("expires_at", |row| time(row.session.expires_at)),
    Column::bytes("refresh_mac", |row| {
        let mac = row.session.refresh_mac.as_ref();
        mac.map(|mac| mac.as_bytes().to_vec()).into()
    })
    .nullable(),
    Column::number("revoked_at", |row| time(row.session.revoked_at)).nullable(),
    Column::text("revoked_for", |row| {
        let reason = row.session.revoked_for;
        reason.map(|reason| reason.to_value()).into()
    })
    .nullable(),
    Column::number("purge_at", |row| time(row.session.purge_at)),
];

fn text(id: Option<TokenId>) -> Value {
    id.map(|id| id.to_string()).into()
}

fn time(time: impl Into<Option<Timestamp>>) -> Value {
    time.into().map(Timestamp::as_millis).into()
}

impl Column {
    const fn text(name: &'static str, value: fn(&Row) -> Value) -> Self {
        Self::new(name, Form::Text, value)
    }

    const fn number(name: &'static str, value: fn(&Row) -> Value) -> Self {
        Self::new(name, Form::Number, value)
    }

    const fn bytes(name: &'static str, value: fn(&Row) -> Value) -> Self {
        Self::new(name, Form::Bytes, value)
    }

    const fn new(name: &'static str, form: Form, value: fn(&Row) -> Value) -> Self {
        Self {
            name,
            form,
            is_nullable: false,
            value,
        }
    }

    const fn nullable(self) -> Self {
        Self {
            is_nullable: true,
            ..self
        }
    }

    /// Its values of all rows, as PostgreSQL is given them. An array could hold a NULL, but sea-query binds none: an empty value or
    /// -1 stands for NULL, which nothing else is.
    pub fn array(&self, rows: &[&Row]) -> Value {
        let present = |row: &&Row| match (self.value)(row) {
            Value::BigInt(None) => Value::BigInt(Some(-1)),
            Value::String(None) => Value::String(Some(String::new())),
            Value::Bytes(None) => Value::Bytes(Some(Vec::new())),
            value => value,
        };
        let elements = match self.form {
            Form::Text => ArrayType::String,
            Form::Number => ArrayType::BigInt,
            Form::Bytes => ArrayType::Bytes,
        };
        Value::Array(elements, Some(Box::new(rows.iter().map(present).collect())))
    }

    /// The type of such an array.
    pub const fn array_type(&self) -> &'static str {
        match self.form {
            Form::Text => "text[]",
            Form::Number => "int8[]",
            Form::Bytes => "bytea[]",
        }
    }

    /// The value of a row in such an array, as it is stored.
    pub fn unpacked(&self) -> String {
        let name = self.name;
        match self.form {
            _ if !self.is_nullable => format!("v.{name}"),
            Form::Text | Form::Bytes => format!("NULLIF(v.{name}, '')"),
            Form::Number => format!("NULLIF(v.{name}, -1)"),
        }
    }
}
