//! The claims that a caller chooses.

use serde_json::{Map, Value};

use crate::error::{Error, Result, Violation};

/// Claims that only this server sets.
pub const RESERVED: [&str; 8] = ["iss", "exp", "nbf", "iat", "jti", "jid", "sid", "type"];

/// Claims that a session keeps, but that come from fields of their own.
const FIELDS: [&str; 5] = ["sub", "aud", "ip", "useragent", "device_id"];

/// Bytes that a body with claims may have, and so the claims themselves.
pub const MAX_CLAIM_BYTES: usize = 16 * 1024;

/// The claims of a session beyond the registered ones: `aud`, `personal`, and any custom ones.
#[derive(Clone, Debug)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// Takes the claims of a new session.
    ///
    /// # Errors
    /// When a custom claim has the name of one that only this server sets.
    pub fn new(aud: Value, personal: Option<Value>, custom: Map<String, Value>) -> Result<Self> {
        check(custom.keys(), &RESERVED)?;
        let mut claims = Map::new();
        claims.insert("aud".to_owned(), aud);
        if let Some(personal) = personal {
            claims.insert("personal".to_owned(), personal);
        }
        claims.extend(custom);
        Self(claims).measured()
    }

    /// Takes the claims that a backend chooses for the sessions of a registered device, which may be for any of `audiences`.
    ///
    /// # Errors
    /// When one has the name of a claim with a field of its own, or `personal` is no object, or they are too large.
    pub fn of_registration(audiences: &[String], chosen: &Map<String, Value>) -> Result<Self> {
        let mut violations = refused(chosen.keys(), &[RESERVED.as_slice(), &FIELDS].concat());
        if chosen
            .get("personal")
            .is_some_and(|personal| !personal.is_object())
        {
            violations.push(Violation::new("personal", "must be an object"));
        }
        for violation in &mut violations {
            violation.field.insert_str(0, "claims.");
        }
        if !violations.is_empty() {
            return Err(Error::Invalid(violations));
        }
        let claims = Self::new(audiences.into(), None, chosen.clone());
        claims.map_err(|_| Error::invalid("claims", "would exceed 16 KiB with the audiences"))
    }

    /// Lays `changes` over the stored claims: a member replaces its namesake, `null` removes it.
    ///
    /// # Errors
    /// When a change is not one that a caller may make, or the result is too large.
    pub fn amend(stored: &str, changes: Map<String, Value>) -> Result<Self> {
        check(changes.keys(), &[RESERVED.as_slice(), &FIELDS].concat())?;
        let mut claims: Map<String, Value> =
            serde_json::from_str(stored).map_err(Error::internal)?;
        for (name, value) in changes {
            if value.is_null() {
                claims.remove(&name);
            } else {
                claims.insert(name, value);
            }
        }
        Self(claims).measured()
    }

    /// Lays claims over the stored ones that only this server sets.
    ///
    /// # Errors
    /// When the result is too large.
    pub fn set<const N: usize>(stored: &str, own: [(&str, &str); N]) -> Result<Self> {
        let mut claims: Map<String, Value> =
            serde_json::from_str(stored).map_err(Error::internal)?;
        claims.extend(own.map(|(name, value)| (name.to_owned(), value.into())));
        Self(claims).measured()
    }

    /// As they are signed they may be longer than they were sent: numbers have one spelling.
    fn measured(self) -> Result<Self> {
        if self.to_json().len() > MAX_CLAIM_BYTES {
            return Err(Error::invalid("", "the claims would exceed 16 KiB"));
        }
        Ok(self)
    }

    /// The form in which they are stored and signed.
    pub fn to_json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }
}

fn refused<'a>(names: impl Iterator<Item = &'a String>, refused: &[&str]) -> Vec<Violation> {
    names
        .filter(|name| refused.contains(&name.as_str()))
        .map(|name| Violation::new(name, "is set by the server, not by the caller"))
        .collect()
}

fn check<'a>(names: impl Iterator<Item = &'a String>, reserved: &[&str]) -> Result<()> {
    let violations = refused(names, reserved);
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(violations))
    }
}
