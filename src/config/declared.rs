//! What `renewd.default.toml` declares: the name of each setting, its default and its documentation. The field of `Config` adds
//! the type and the bounds; flags, variables and their help follow from these two.

use toml::{Table, Value};

/// The documented defaults, which are the program's own and declare every setting.
pub const DEFAULTS: &str = include_str!("../../renewd.default.toml");

/// A setting, as the file of the defaults declares it.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Its key in the file.
    pub name: String,
    /// Its default, which also says what a flag is read as.
    pub default: Value,
    /// The comment above it.
    pub about: String,
}

impl Declared {
    /// Every setting, in the order of the file.
    pub fn all() -> Vec<Self> {
        Self::read(DEFAULTS)
    }

    fn read(text: &str) -> Vec<Self> {
        let mut settings = Vec::new();
        let mut about = Vec::new();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix('#') {
                about.push(comment.trim());
                continue;
            }
            // An empty line is an empty table: what stands above it is about nothing.
            let table: Table = toml::from_str(line).unwrap_or_default();
            settings.extend(table.into_iter().map(|(name, default)| Self {
                name,
                default,
                about: about.join(" "),
            }));
            about.clear();
        }
        settings
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("RENEWD_{}", self.name.to_uppercase())
    }

    /// The first sentence of its documentation, without the full stop.
    pub fn summary(&self) -> &str {
        let sentence = self.about.split(". ").next();
        sentence.unwrap_or_default().trim_end_matches('.')
    }

    /// What its value is called: the unit of a number, which begins its documentation, or else the last word of its name.
    pub fn value_name(&self) -> String {
        let unit = self.about.split(' ').next().unwrap_or_default();
        let word = match (&self.default, unit) {
            (Value::Integer(_), "Milliseconds" | "Seconds" | "Days") => unit,
            (Value::Integer(_), _) => "count",
            _ => self.name.rsplit('_').next().unwrap_or_default(),
        };
        word.to_uppercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_the_defaults_is_read_and_documented() {
        let whole: Table = toml::from_str(DEFAULTS).unwrap();
        let declared = Declared::all();
        let read: Table = declared
            .iter()
            .map(|setting| (setting.name.clone(), setting.default.clone()))
            .collect();
        assert_eq!((read.len(), read), (declared.len(), whole));
        for setting in declared {
            let (name, summary) = (&setting.name, setting.summary());
            assert!((3..=100).contains(&summary.len()), "{name}: {summary}");
        }
    }

    #[test]
    fn a_declaration_is_a_comment_and_a_default() {
        let text = "# Of the file.\n\n# Seconds to wait; 0: none. Then it\n# ends.\npush_timeout = 5\n\n# Whether.\nmain_switch = true";
        let shown = Declared::read(text).into_iter().map(|setting| {
            let summary = setting.summary().to_owned();
            (setting.variable(), setting.value_name(), summary)
        });
        let expected = [
            ("RENEWD_PUSH_TIMEOUT", "SECONDS", "Seconds to wait; 0: none"),
            ("RENEWD_MAIN_SWITCH", "SWITCH", "Whether"),
        ];
        let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
        assert!(shown.eq(expected));
    }
}
