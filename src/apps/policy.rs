//! The policy of an app: what its fields may be together.

mod column;
mod fields;
mod limits;

use entity::{
    AppId, Timestamp,
    app::{self, LONGEST_REFRESH_GRACE},
};
use keys::{Algorithm, KeyType};
use serde_json::Value;

use self::fields::{MOST_AUDIENCES, MOST_ORIGINS};
pub use self::{
    fields::{AppChanges, FIELDS, Field, NewApp, members},
    limits::Limits,
};
use super::origin::is_origin;
use crate::error::{Error, Result, Violation};

impl NewApp {
    /// The row that it becomes.
    ///
    /// # Errors
    /// With every rule that it breaks.
    pub fn into_row(self, id: AppId, now: Timestamp) -> Result<app::Model> {
        let mut violations = Vec::new();
        violations.extend(check_algorithm(self.algo, self.key_type));
        violations.extend(check_origins(&self.allowed_origins));
        violations.extend(check_audiences("device_audiences", &self.device_audiences));
        let row = self.into_row_unchecked(id, now);
        check(&row, violations)?;
        Ok(row)
    }

    /// The same, whatever rules it breaks.
    pub fn into_row_unchecked(self, id: AppId, now: Timestamp) -> app::Model {
        let mut row = app::Model::blank(id, now);
        self.store(&mut row);
        row
    }
}

impl AppChanges {
    /// Lays the changes over `row`.
    ///
    /// # Errors
    /// With every rule that the result breaks.
    pub fn apply(self, mut row: app::Model, now: Timestamp) -> Result<app::Model> {
        let mut violations = Vec::new();
        if self.key_type.is_some() || self.algo.is_some() {
            let present: Algorithm = row.algorithm.parse().map_err(Error::internal)?;
            let algorithm = self.algo.unwrap_or(present);
            let key_type = self.key_type.unwrap_or(present.key_type());
            violations.extend(check_algorithm(algorithm, key_type));
        }
        let origins = self.allowed_origins.as_deref();
        violations.extend(origins.and_then(check_origins));
        let audiences = self.device_audiences.as_deref();
        violations.extend(audiences.and_then(|all| check_audiences("device_audiences", all)));
        self.store(&mut row);
        row.updated_at = Some(now);
        check(&row, violations)?;
        Ok(row)
    }
}

fn check(row: &app::Model, mut violations: Vec<Violation>) -> Result<()> {
    let members = members(row);
    // The bounds of `refresh_grace` are told in one sentence with its other rule, below.
    let fields = FIELDS.iter().filter(|field| field.name != "refresh_grace");
    violations.extend(fields.filter_map(|field| {
        let value = members.get(field.name).unwrap_or(&Value::Null);
        let complaint = field.limits.complaint(value)?;
        Some(Violation::new(field.name, complaint))
    }));
    let mut rule = |holds: bool, field: &str, message: &str| {
        if !holds {
            violations.push(Violation::new(field, message));
        }
    };
    rule(
        row.token_notbefore < row.token_expiry,
        "token_notbefore",
        "must be below token_expire",
    );
    rule(
        row.refresh_notbefore < row.refresh_expiry,
        "refresh_notbefore",
        "must be below refresh_expire",
    );
    rule(
        row.refresh_notbefore < row.token_expiry || row.refresh_notbefore >= row.refresh_expiry,
        "refresh_notbefore",
        "must be below token_expire: a client could not renew before its auth token has ended",
    );
    let ends_after = |wait| row.session_expiry.is_none_or(|end| wait < end);
    rule(
        ends_after(row.token_notbefore),
        "token_notbefore",
        "must be below session_expire: the session would end before its auth token is valid",
    );
    rule(
        ends_after(row.refresh_notbefore),
        "refresh_notbefore",
        "must be below session_expire: the session would end before it can be renewed",
    );
    rule(
        (0..=LONGEST_REFRESH_GRACE).contains(&row.refresh_grace)
            && row.refresh_grace < row.token_expiry,
        "refresh_grace",
        "must be 0 to 60 seconds, and below token_expire",
    );
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(violations))
    }
}

fn check_algorithm(algorithm: Algorithm, key_type: KeyType) -> Option<Violation> {
    let fitting = algorithm.key_type();
    if fitting != key_type {
        return Some(Violation::new(
            "algo",
            format!("{algorithm} needs key_type {fitting}"),
        ));
    }
    let message = format!("{algorithm} is not supported; ES256 and ES384 are, for instance");
    (!algorithm.is_supported()).then(|| Violation::new("algo", message))
}

fn check_origins(origins: &[String]) -> Option<Violation> {
    let holds = origins.len() <= MOST_ORIGINS && origins.iter().all(|origin| is_origin(origin));
    let message = format!(
        "must be at most {MOST_ORIGINS} origins such as https://app.example.com, as browsers send them: lower case, no path, no \
         default port, no wildcard"
    );
    (!holds).then(|| Violation::new("allowed_origins", message))
}

/// That these may be the audiences of devices: as many and as long as those of a session, and one a line.
pub fn check_audiences(field: &str, audiences: &[String]) -> Option<Violation> {
    let is_audience = |text: &String| {
        (1..=255).contains(&text.chars().count()) && !text.chars().any(char::is_control)
    };
    let holds = audiences.len() <= MOST_AUDIENCES && audiences.iter().all(is_audience);
    let message = format!(
        "must be at most {MOST_AUDIENCES} audiences, each of 1 to 255 characters, none of them a control character"
    );
    (!holds).then(|| Violation::new(field, message))
}

#[cfg(test)]
mod tests;
