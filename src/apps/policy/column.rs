//! How the value of a field stands in the row of its app.

use keys::{Algorithm, KeyType};

/// A value that stands in a column of type `C`.
pub trait Column<C>: Sized {
    /// `None` when this release does not know what stands there.
    fn load(column: &C) -> Option<Self>;

    fn store(self, column: &mut C);
}

impl<T: Clone> Column<T> for T {
    fn load(column: &T) -> Option<Self> {
        Some(column.clone())
    }

    fn store(self, column: &mut T) {
        *column = self;
    }
}

impl Column<String> for Vec<String> {
    fn load(column: &String) -> Option<Self> {
        Some(column.lines().map(str::to_owned).collect())
    }

    fn store(self, column: &mut String) {
        *column = self.join("\n");
    }
}

impl Column<Option<String>> for Vec<String> {
    fn load(column: &Option<String>) -> Option<Self> {
        Self::load(column.as_ref().unwrap_or(&String::new()))
    }

    fn store(self, column: &mut Option<String>) {
        *column = Some(self.join("\n"));
    }
}

impl Column<String> for Algorithm {
    fn load(column: &String) -> Option<Self> {
        column.parse().ok()
    }

    fn store(self, column: &mut String) {
        *column = self.to_string();
    }
}

/// The algorithm tells it.
impl Column<String> for KeyType {
    fn load(column: &String) -> Option<Self> {
        Some(Algorithm::load(column)?.key_type())
    }

    fn store(self, _: &mut String) {}
}
