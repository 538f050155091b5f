//! Carries out what waits, in one transaction.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ambient::Rng;
use entity::{SessionId, setting};
use rand::RngExt;
use sea_orm::{DbErr, SqlErr};
use store::{Backoff, CommitError, Connections, Failure, Transaction, Writes, deadline, engine};
use tokio::time::Instant;

use super::{
    renewal::Outcome,
    row::Row,
    statements,
    work::{Begun, Done, Ended, Work, begin, end, only_app, renew},
};
use crate::audit::{self, Action, Event};

/// What sessions are written with.
#[derive(Debug)]
pub struct Writing {
    pub db: Connections,
    pub writes: Arc<Writes>,
    pub rng: Rng,
    /// How long an attempt may take, before it is made anew on another connection.
    pub patience: Duration,
}

impl Writing {
    /// Decides all of `works`, in their order, in one transaction, and commits it, until `end`.
    pub async fn carry_out(&self, works: &mut [Work], end: Instant) -> Result<Vec<Done>, DbErr> {
        let mut backoff = Backoff::until(end);
        loop {
            let once = deadline::within(self.patience, self.carry_out_once(works));
            let error = match deadline::until(end, once).await {
                Ok(Some(done)) => return Ok(done),
                // Somebody else wrote one of the rows: decided anew, by what is there now.
                Ok(None) => None,
                Err(CommitError::Refused(error)) => Some(error),
                Err(CommitError::Unconfirmed(error)) => Some(error),
            };
            if let Some(error) = &error {
                self.writes.note(error);
            }
            let is_final = error.as_ref().is_some_and(|error| {
                engine::failure(error) == Failure::Defect || engine::is_closed(error)
            });
            if is_final || !backoff.pause(&self.rng).await {
                return Err(error.unwrap_or_else(deadline::over));
            }
        }
    }

    /// `None` when another writer changed one of the rows in between: nothing was changed then. When it is not known
    /// whether anything was, the operations of which it would be true are in doubt.
    async fn carry_out_once(&self, works: &mut [Work]) -> Result<Option<Vec<Done>>, CommitError> {
        let written = self
            .decide_and_write(works)
            .await
            .map_err(CommitError::Refused)?;
        let Some((transaction, done)) = written else {
            return Ok(None);
        };
        let committed = engine::commit(transaction).await;
        if let Err(CommitError::Unconfirmed(_)) = committed {
            for (work, done) in works.iter_mut().zip(&done) {
                work.doubt(done);
            }
        }
        committed.map(|()| Some(done))
    }

    /// Decides `works` and writes what was decided: everything but the commit.
    async fn decide_and_write(
        &self,
        works: &[Work],
    ) -> Result<Option<(Transaction, Vec<Done>)>, DbErr> {
        let transaction = self.db.begin().await?;
        let ids: Vec<_> = works.iter().filter_map(Work::reads).collect();
        let apps = works.iter().filter_map(Work::asks).collect();
        let stored = statements::read(&transaction, &ids, only_app(works), &apps).await?;
        let epochs = stored.epochs;
        // In the order of their ids: two that write the same rows do not wait for each other in a circle.
        let mut rows: BTreeMap<SessionId, Row> = stored
            .sessions
            .into_iter()
            .map(|session| (session.id, Row::new(session)))
            .collect();

        let (mut begun, mut events) = (Vec::new(), Vec::new());
        let mut done = Vec::with_capacity(works.len());
        for work in works {
            // None of an app that is no more.
            let epoch = epochs.get(&work.app_id()).copied();
            done.push(match work {
                Work::Begin(beginning) => {
                    let row = rows.get(&beginning.session.id).map(|row| &row.session);
                    let outcome = begin(row, beginning, epoch);
                    if matches!(outcome, Begun::Stored) && row.is_none() {
                        begun.push(&*beginning.session);
                    }
                    Done::Begun(outcome)
                }
                Work::Renew(renewal) => {
                    let row = rows.get_mut(&renewal.session_id);
                    let outcome = renew(row.map(|row| &mut row.session), renewal, epoch);
                    if outcome == Outcome::Reused {
                        let reuse = Action::SessionReuse;
                        let event = Event::of(reuse, renewal.app_id, renewal.session_id);
                        events.push(event.row(&renewal.actor, renewal.now, &self.rng));
                    }
                    Done::Renewed(outcome)
                }
                Work::End(ending) => {
                    let row = rows.get_mut(&ending.session_id);
                    let was_live = row.as_ref().is_some_and(|row| !row.session.is_revoked());
                    let outcome = end(row.map(|row| &mut row.session), ending, epoch);
                    // Where it was in doubt, it was recorded when it was done.
                    let is_new = outcome == Ended::Now && was_live;
                    events.extend(ending.event.as_deref().cloned().filter(|_| is_new));
                    Done::Ended(outcome)
                }
            });
        }

        let changes: Vec<_> = rows.values().filter(|row| row.is_changed()).collect();
        if !statements::advance(&transaction, &changes).await? {
            transaction.rollback().await?;
            return Ok(None);
        }
        if let Err(error) = statements::insert(&transaction, &begun).await {
            let is_there = matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)));
            let in_doubt = |work: &Work| matches!(work, Work::Begin(begun) if begun.in_doubt);
            if !(is_there && works.iter().any(in_doubt)) {
                return Err(error);
            }
            // A commit that waits for a synchronous standby is seen by nobody until that has it: it came after the rows
            // were read. They are read again.
            transaction.rollback().await?;
            return Ok(None);
        }
        let writes = !(changes.is_empty() && begun.is_empty() && events.is_empty());
        if !writes && done.iter().any(Done::is_kept) {
            // What is answered is as durable as what is made, also where it was there already, and what is missing is missing
            // at the primary: a commit that writes nothing waits for no standby, and may tell of a row that the one before it has
            // not brought to any, or be that of a server that has not noticed yet that another took its place.
            setting::write_probe(&transaction, self.rng.with(|rng| rng.random())).await?;
        }
        audit::insert(&transaction, events).await?;
        Ok(Some((transaction, done)))
    }
}
