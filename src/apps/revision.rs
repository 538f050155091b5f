//! A change of an app, its app-keys or its signing keys, or of the server as a whole: one transaction, which counts up the epoch
//! of what it changes first.

use std::sync::Arc;

use entity::{AppId, Timestamp, app, setting};
use store::Transaction;

use crate::{
    app::App,
    audit::{Actor, Event, record},
    error::{Error, Result},
    turns::Turn,
};

/// A change that is under way. Nobody else changes the app until it is committed or given up.
#[derive(Debug)]
pub struct Revision<'a> {
    pub db: Transaction,
    pub now: Timestamp,
    app: &'a App,
    actor: &'a Actor,
    id: AppId,
    /// Given back last, when this process knows the change.
    _turn: Arc<Turn>,
}

impl<'a> Revision<'a> {
    /// Begins it.
    ///
    /// # Errors
    /// When there is no such app, or the actor may not change it (any more).
    pub async fn begin(app: &'a App, actor: &'a Actor, id: AppId) -> Result<Self> {
        let turn = match actor.turn() {
            Some(turn) => turn,
            None => Arc::new(app.turns.alone(&app.store, id).await?),
        };
        let db = app.store.begin().await?;
        let now = app.clock.now();
        let from = actor.epoch_of(id)?;
        // The guard is the look at the right of an app-key: of its revocation and of what is done by it, one is first.
        let is_next = app::advance(&db, id, from).await?;
        if from.is_none() {
            actor.confirm(&db, now).await?;
        }
        if !is_next {
            return Err(from.map_or(Error::NotFound("app"), |_| Error::Stale));
        }
        Ok(Self {
            db,
            now,
            app,
            actor,
            id,
            _turn: turn,
        })
    }

    /// Commits it, with what is recorded of it. From then on this process knows it.
    pub async fn commit(self, events: impl IntoIterator<Item = Event>) -> Result<()> {
        record(&self.db, &self.app.rng, self.now, self.actor, events).await?;
        let committed = self.app.store.commit(self.db).await;
        // Also when it is not known whether it was: what is in memory may be stale.
        self.app.directory.drop_changed(self.id);
        Ok(committed?)
    }
}

/// A change of the server as a whole that is under way. Nobody else changes the server until it is committed or given up.
#[derive(Debug)]
pub struct ServerRevision<'a> {
    pub db: Transaction,
    pub now: Timestamp,
    app: &'a App,
    actor: &'a Actor,
}

impl<'a> ServerRevision<'a> {
    /// Begins it.
    ///
    /// # Errors
    /// When the actor may not change the server (any more).
    pub async fn begin(app: &'a App, actor: &'a Actor) -> Result<Self> {
        let db = app.store.begin().await?;
        let now = app.clock.now();
        // Of two changes at once, the second one sees what the first one did: a key that has ended makes no other.
        setting::advance_epoch(&db).await?;
        actor.confirm(&db, now).await?;
        Ok(Self {
            db,
            now,
            app,
            actor,
        })
    }

    /// Commits it, with what is recorded of it. From then on this process knows it.
    pub async fn commit(self, events: impl IntoIterator<Item = Event>) -> Result<()> {
        record(&self.db, &self.app.rng, self.now, self.actor, events).await?;
        let committed = self.app.store.commit(self.db).await;
        // Also when it is not known whether it was: what is in memory may be stale.
        self.app.directory.drop_all();
        Ok(committed?)
    }
}
