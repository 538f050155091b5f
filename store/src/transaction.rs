//! A transaction, each statement of which has a deadline.

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement,
};

use crate::connections::Held;

/// A transaction; rolled back when it is dropped.
#[derive(Debug)]
pub struct Transaction {
    // In this order: the connection is given back before its place is.
    inner: DatabaseTransaction,
    held: Held,
}

impl Transaction {
    pub(super) fn new(inner: DatabaseTransaction, held: Held) -> Self {
        Self { inner, held }
    }

    /// Commits.
    ///
    /// # Errors
    /// When it was not committed, or that is not known.
    pub async fn commit(self) -> Result<(), DbErr> {
        let Self { inner, held } = self;
        let committed = held.answer(held.last(), inner.commit()).await;
        if committed.is_err() {
            // Whether it is still in the transaction is not known.
            held.give_up();
        }
        committed
    }

    /// Ends it with nothing done.
    pub async fn rollback(self) -> Result<(), DbErr> {
        let Self { inner, held } = self;
        held.answer(held.end(), inner.rollback()).await
    }
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.held.backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let end = self.held.end();
        self.held
            .answer(end, self.inner.execute_raw(statement))
            .await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let end = self.held.end();
        self.held
            .answer(end, self.inner.execute_unprepared(sql))
            .await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let end = self.held.end();
        self.held
            .answer(end, self.inner.query_one_raw(statement))
            .await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let end = self.held.end();
        self.held
            .answer(end, self.inner.query_all_raw(statement))
            .await
    }
}
