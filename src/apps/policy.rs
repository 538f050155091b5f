//! The policy of an app, and its rules.

use std::ops::RangeInclusive;

use entity::{
    AppId, Timestamp,
    app::{self, LONGEST_REFRESH_GRACE},
};
use keys::{Algorithm, KeyType};

use super::origin::is_origin;
use crate::error::{Error, Result, Violation};

/// Seconds that a lifetime may have.
const LIFETIME_RANGE: RangeInclusive<i64> = 60..=31_536_000;

/// Seconds for which the parent of a device's registration token may be presented again, unless set: a day.
pub const DEFAULT_REGISTRATION_GRACE: i64 = 86_400;

/// An app that is to be made. Times in seconds.
#[derive(Clone, Debug)]
pub struct NewApp {
    pub name: String,
    pub description: String,
    pub issuer: Option<String>,
    pub token_expire: i64,
    pub token_notbefore: i64,
    pub refresh_expire: i64,
    pub refresh_notbefore: i64,
    pub refresh_grace: i64,
    pub session_expire: Option<i64>,
    pub max_sessions_per_subject: Option<i64>,
    pub key_type: KeyType,
    pub algorithm: Algorithm,
    pub rotation_period: i64,
    pub allowed_origins: Vec<String>,
    pub registration_grace: i64,
    pub registration_expire: Option<i64>,
    pub push_binding: bool,
    pub device_audiences: Vec<String>,
}

/// Changes of an app; what is `None` stays. The inner `None` of a setting removes it.
#[derive(Clone, Debug, Default)]
pub struct AppChanges {
    pub name: Option<String>,
    pub description: Option<String>,
    pub issuer: Option<Option<String>>,
    pub token_expire: Option<i64>,
    pub token_notbefore: Option<i64>,
    pub refresh_expire: Option<i64>,
    pub refresh_notbefore: Option<i64>,
    pub refresh_grace: Option<i64>,
    pub session_expire: Option<Option<i64>>,
    pub max_sessions_per_subject: Option<Option<i64>>,
    /// The next signing key will be one of these.
    pub key_type: Option<KeyType>,
    pub algorithm: Option<Algorithm>,
    pub rotation_period: Option<i64>,
    pub allowed_origins: Option<Vec<String>>,
    pub registration_grace: Option<i64>,
    pub registration_expire: Option<Option<i64>>,
    pub push_binding: Option<bool>,
    pub device_audiences: Option<Vec<String>>,
}

impl NewApp {
    /// An app of this name with the defaults that the command line offers: auth tokens of an hour,
    /// sessions that live while they are renewed once in two weeks, a new key every 90 days.
    pub fn named(name: String) -> Self {
        Self {
            name,
            description: String::new(),
            issuer: None,
            token_expire: 3600,
            token_notbefore: 0,
            refresh_expire: 14 * 86_400,
            refresh_notbefore: 0,
            refresh_grace: 0,
            session_expire: None,
            max_sessions_per_subject: None,
            key_type: KeyType::Ecdsa,
            algorithm: Algorithm::Es256,
            rotation_period: 90 * 86_400,
            allowed_origins: Vec::new(),
            registration_grace: DEFAULT_REGISTRATION_GRACE,
            registration_expire: None,
            push_binding: false,
            device_audiences: Vec::new(),
        }
    }

    /// The row that it becomes.
    ///
    /// # Errors
    /// With every rule that it breaks.
    pub fn into_row(self, id: AppId, now: Timestamp) -> Result<app::Model> {
        let mut violations = Vec::new();
        violations.extend(check_algorithm(self.algorithm, self.key_type));
        let row = app::Model {
            id,
            name: self.name,
            description: self.description,
            issuer: self.issuer,
            token_expiry: self.token_expire,
            token_notbefore: self.token_notbefore,
            refresh_expiry: self.refresh_expire,
            refresh_notbefore: self.refresh_notbefore,
            refresh_grace: self.refresh_grace,
            session_expiry: self.session_expire,
            max_sessions_per_subject: self.max_sessions_per_subject,
            algorithm: self.algorithm.to_string(),
            rotation_period: self.rotation_period,
            allowed_origins: self.allowed_origins.join("\n"),
            registration_grace: self.registration_grace,
            registration_expiry: self.registration_expire,
            push_binding: self.push_binding,
            device_audiences: Some(self.device_audiences.join("\n")),
            flush_count: 0,
            epoch: 0,
            key_changes: 0,
            last_key_rotate: None,
            next_key_at: now,
            created_at: now,
            updated_at: None,
            deleted_at: None,
        };
        violations.extend(check_origins(&self.allowed_origins));
        violations.extend(check_audiences("device_audiences", &self.device_audiences));
        check(&row, violations)?;
        Ok(row)
    }
}

impl AppChanges {
    /// Lays the changes over `row`.
    ///
    /// # Errors
    /// With every rule that the result breaks.
    pub fn apply(self, mut row: app::Model, now: Timestamp) -> Result<app::Model> {
        macro_rules! change {
            ($($field:ident => $column:ident,)*) => {$(
                if let Some(value) = self.$field {
                    row.$column = value;
                }
            )*};
        }
        change! {
            name => name,
            description => description,
            issuer => issuer,
            token_expire => token_expiry,
            token_notbefore => token_notbefore,
            refresh_expire => refresh_expiry,
            refresh_notbefore => refresh_notbefore,
            refresh_grace => refresh_grace,
            session_expire => session_expiry,
            max_sessions_per_subject => max_sessions_per_subject,
            rotation_period => rotation_period,
            registration_grace => registration_grace,
            registration_expire => registration_expiry,
            push_binding => push_binding,
        }
        let mut violations = Vec::new();
        if self.key_type.is_some() || self.algorithm.is_some() {
            let present: Algorithm = row.algorithm.parse().map_err(Error::internal)?;
            let algorithm = self.algorithm.unwrap_or(present);
            let key_type = self.key_type.unwrap_or(present.key_type());
            violations.extend(check_algorithm(algorithm, key_type));
            row.algorithm = algorithm.to_string();
        }
        if let Some(origins) = self.allowed_origins {
            violations.extend(check_origins(&origins));
            row.allowed_origins = origins.join("\n");
        }
        if let Some(audiences) = self.device_audiences {
            violations.extend(check_audiences("device_audiences", &audiences));
            row.device_audiences = Some(audiences.join("\n"));
        }
        row.updated_at = Some(now);
        check(&row, violations)?;
        Ok(row)
    }
}

fn check(row: &app::Model, mut violations: Vec<Violation>) -> Result<()> {
    let mut rule = |holds: bool, field: &str, message: &str| {
        if !holds {
            violations.push(Violation::new(field, message));
        }
    };
    let life = |seconds| LIFETIME_RANGE.contains(&seconds);
    let wait = |seconds| (0..=*LIFETIME_RANGE.end()).contains(&seconds);
    let text = |text: &str, longest| {
        text.chars().count() <= longest && !text.chars().any(char::is_control)
    };
    const LIFE: &str = "must be 60 to 31536000 seconds";
    const WAIT: &str = "must be 0 to 31536000 seconds";

    rule(
        !row.name.trim().is_empty() && text(&row.name, 100),
        "name",
        "must have 1 to 100 characters, none of them a control character",
    );
    rule(
        text(&row.description, 1000),
        "description",
        "must have at most 1000 characters, none of them a control character",
    );
    rule(
        row.issuer
            .as_deref()
            .is_none_or(|issuer| !issuer.is_empty() && text(issuer, 255)),
        "issuer",
        "must have 1 to 255 characters, none of them a control character",
    );
    rule(life(row.token_expiry), "token_expire", LIFE);
    rule(wait(row.token_notbefore), "token_notbefore", WAIT);
    rule(
        row.token_notbefore < row.token_expiry,
        "token_notbefore",
        "must be below token_expire",
    );
    rule(life(row.refresh_expiry), "refresh_expire", LIFE);
    rule(wait(row.refresh_notbefore), "refresh_notbefore", WAIT);
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
    rule(row.session_expiry.is_none_or(life), "session_expire", LIFE);
    rule(
        row.max_sessions_per_subject
            .is_none_or(|limit| (1..=10_000).contains(&limit)),
        "max_sessions_per_subject",
        "must be 1 to 10000",
    );
    rule(life(row.rotation_period), "rotation_period", LIFE);
    rule(wait(row.registration_grace), "registration_grace", WAIT);
    rule(
        row.registration_expiry.is_none_or(life),
        "registration_expire",
        LIFE,
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
    let holds = origins.len() <= 100 && origins.iter().all(|origin| is_origin(origin));
    let message = "must be at most 100 origins such as https://app.example.com, as browsers send them: lower \
                   case, no path, no default port, no wildcard";
    (!holds).then(|| Violation::new("allowed_origins", message))
}

/// That these may be the audiences of devices: as many and as long as those of a session, and one a line.
pub fn check_audiences(field: &str, audiences: &[String]) -> Option<Violation> {
    let is_audience = |text: &String| {
        (1..=255).contains(&text.chars().count()) && !text.chars().any(char::is_control)
    };
    let holds = audiences.len() <= 50 && audiences.iter().all(is_audience);
    let message = "must be at most 50 audiences, each of 1 to 255 characters, none of them a control character";
    (!holds).then(|| Violation::new(field, message))
}
