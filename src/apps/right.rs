//! Every right is looked at again in the transaction of what is written by it: what is known of keys in memory may be a
//! moment old, and a key that was revoked in that moment writes nothing any more.

use std::sync::Arc;

use entity::{AppId, Timestamp, app, app_key};
use sea_orm::ConnectionTrait;
use store::Transaction;

use crate::{
    app::App,
    apps::Caller,
    audit::{Actor, Right},
    error::{Error, Result},
};

impl Actor {
    /// Begins a transaction in which this actor may write.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] when the root key has ended; [`Error::Stale`] when the app was changed since the app-key was looked
    /// at.
    pub async fn begin(&self, app: &App) -> Result<Transaction> {
        let transaction = app.store.begin().await?;
        self.confirm(&transaction, app.clock.now()).await?;
        Ok(transaction)
    }

    /// Looks at the right in a transaction.
    ///
    /// # Errors
    /// See [`begin`](Self::begin).
    pub async fn confirm(&self, db: &impl ConnectionTrait, now: Timestamp) -> Result<()> {
        match self.right() {
            Right::Own => Ok(()),
            Right::RootKey(id) => {
                let row = app_key::find(db, id).await?;
                let is_live = |row: &app_key::Model| {
                    row.app_id.is_none() && row.kind == app_key::Kind::Root && row.is_live(now)
                };
                row.filter(is_live).map(|_| ()).ok_or(Error::InvalidKey)
            }
            // As nothing was changed since, the key is live now, too.
            Right::AppKey { app_id, epoch } => {
                let epochs = app::epochs(db, &[app_id]).await?;
                if epochs.get(&app_id) == Some(&epoch) {
                    Ok(())
                } else {
                    Err(Error::Stale)
                }
            }
        }
    }

    /// The changes that the app may have seen, if this actor is to change it: any number, unless the right is of one number.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] when the right is of another app.
    pub fn epoch_of(&self, id: AppId) -> Result<Option<i64>> {
        match self.right() {
            Right::Own | Right::RootKey(_) => Ok(None),
            Right::AppKey { app_id, epoch } if app_id == id => Ok(Some(epoch)),
            Right::AppKey { .. } => Err(Error::InvalidKey),
        }
    }
}

impl Caller {
    /// Runs `attempt`, a whole operation, as [`Store::retry`](store::Store::retry) does; anew, too, while the app is changed
    /// meanwhile and the key of the caller is good all the same. Each attempt begins its transactions by the right of the
    /// caller that it is given.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] when the key has ended; those of `attempt`.
    pub async fn act<T, F>(&self, app: &App, mut attempt: impl FnMut(Self) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let (mut caller, id) = (self.clone(), self.app.app.id);
        let mut tries = app.store.tries();
        let mut turn = None;
        while tries.again() {
            match app.retry(|| attempt(caller.clone())).await {
                Err(Error::Stale) => {
                    let turn = match &turn {
                        Some(turn) => turn,
                        None => turn.insert(Arc::new(app.turns.alone(&app.store, id).await?)),
                    };
                    caller = caller.again(app).await?;
                    let actor = (*caller.actor).clone().in_turn(turn.clone());
                    caller.actor = Arc::new(actor);
                }
                done => return done,
            }
        }
        Err(Error::too_many_changes())
    }
}
