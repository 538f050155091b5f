//! What describes a device, and the form that it has.

use entity::device::{self, Platform};

use crate::error::Violation;

/// What describes a device; what is not known stays as it was.
#[derive(Clone, Debug, Default)]
pub struct Details {
    pub platform: Option<Platform>,
    pub push_permission: Option<bool>,
    pub timezone: Option<String>,
    pub language: Option<String>,
    pub country: Option<String>,
}

impl Details {
    /// Notes on the row what is known.
    pub fn note(self, row: &mut device::Model) {
        row.platform = self.platform.or(row.platform);
        row.push_permission = self.push_permission.or(row.push_permission);
        row.timezone = self.timezone.or(row.timezone.take());
        row.language = self.language.or(row.language.take());
        row.country = self.country.or(row.country.take());
    }

    /// In the spelling of their standards, with every rule that they break. The forms are checked, not the lists: those grow,
    /// and devices know of it before servers do.
    pub fn normalise(&mut self) -> Vec<Violation> {
        if let Some(language) = &mut self.language {
            language.make_ascii_lowercase();
        }
        if let Some(country) = &mut self.country {
            country.make_ascii_uppercase();
        }
        let mut violations = Vec::new();
        let mut check = |field, value: &Option<String>, holds: fn(&str) -> bool, message: &str| {
            if value.as_deref().is_some_and(|value| !holds(value)) {
                violations.push(Violation::new(field, message));
            }
        };
        let message = "must be an IANA time zone, such as Europe/Berlin";
        check("timezone", &self.timezone, is_timezone, message);
        let message = "must be a language of ISO 639-1, such as en";
        check("language", &self.language, is_code, message);
        let message = "must be a country of ISO 3166-1, such as DE";
        check("country", &self.country, is_code, message);
        violations
    }
}

/// Names joined by slashes, of the characters that the tz database allows itself.
fn is_timezone(text: &str) -> bool {
    let is_name = |name: &str| {
        (1..=32).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-+".contains(&byte))
    };
    text.len() <= 64 && text.split('/').all(is_name)
}

fn is_code(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_checked_and_cases_put_right() {
        for zone in [
            "Europe/Berlin",
            "America/Argentina/ComodRivadavia",
            "America/Port-au-Prince",
            "Etc/GMT+12",
            "UTC",
            "EST5EDT",
        ] {
            assert!(is_timezone(zone), "{zone}");
        }
        for other in [
            "",
            "/",
            "Europe/",
            "+02:00",
            "Europe Berlin",
            "Zürich",
            "1/a",
        ] {
            assert!(!is_timezone(other), "{other}");
        }
        let mut details = Details {
            timezone: Some("UTC".to_owned()),
            language: Some("EN".to_owned()),
            country: Some("de".to_owned()),
            ..Details::default()
        };
        assert_eq!(details.normalise(), []);
        let (language, country) = (details.language.as_deref(), details.country.as_deref());
        assert_eq!((language, country), (Some("en"), Some("DE")));

        let mut details = Details {
            timezone: Some("here".repeat(20)),
            language: Some("english".to_owned()),
            country: Some("D1".to_owned()),
            ..Details::default()
        };
        let fields: Vec<_> = details
            .normalise()
            .into_iter()
            .map(|violation| violation.field)
            .collect();
        assert_eq!(fields, ["timezone", "language", "country"]);
    }
}
