//! What all pools of connections have in common: a connection whose transaction did not end is not used again.

use std::pin::Pin;

use sea_orm::sqlx;
use sqlx::{Connection, Database, Error, pool::PoolOptions};

type Test<'a> = Pin<Box<dyn Future<Output = Result<bool, Error>> + Send + 'a>>;

/// Closes connections whose transaction did not end, instead of lending them again: all that is done on such a one is part
/// of a transaction that nobody commits.
///
/// A transaction does not end when its COMMIT fails and the engine rolls it back by itself, as SQLite does when the disk is
/// full: the ROLLBACK that the driver sends then fails, too, and the driver goes on counting the transaction. Whatever
/// state the engine is in, closing the connection rolls back what is left.
pub fn without_leftovers<D: Database>(options: PoolOptions<D>) -> PoolOptions<D> {
    options
        .after_release(|connection, _| is_clean::<D>(connection))
        // Nothing begins within something else, however that came to be.
        .before_acquire(|connection, _| {
            let is_free = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_free) })
        })
}

fn is_clean<D: Database>(connection: &mut D::Connection) -> Test<'_> {
    Box::pin(async {
        if connection.is_in_transaction() {
            // What was sent to the engine and not waited for, such as a ROLLBACK, is done first.
            connection.ping().await?;
        }
        Ok(!connection.is_in_transaction())
    })
}
