//! Lists that are read a page at a time.

use crate::error::Result;

/// A page of a list, and where the next one begins.
#[derive(Clone, Debug)]
pub struct Listing<T, Cursor> {
    pub items: Vec<T>,
    pub next: Option<Cursor>,
}

impl<T, Cursor: Clone> Listing<T, Cursor> {
    /// Reads every page of `read`.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn all(mut read: impl AsyncFnMut(Option<Cursor>) -> Result<Self>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let page = read(cursor).await?;
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }
}

impl<T, Cursor> Listing<T, Cursor> {
    /// Makes a page of `limit` items from one more, should there be so many.
    pub fn cut(mut items: Vec<T>, limit: u64, cursor: impl Fn(&T) -> Cursor) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(cursor);
        Self { items, next }
    }
}
