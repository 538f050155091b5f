//! Steps that may be taken twice. Frozen with the migrations that use it.

use std::ops::Deref;

use sea_orm_migration::{
    prelude::{
        DbErr, IndexCreateStatement, IndexDropStatement, SchemaManager, TableAlterStatement,
        TableCreateStatement,
    },
    sea_orm::{RuntimeErr, sqlx::mysql::MySqlDatabaseError},
};

/// Changes tables. MariaDB commits each change by itself: when a migration is interrupted there, or two processes begin the
/// same one at once, it begins again from its first step, and a step that was taken already is no failure. On the other
/// engines a migration is one transaction.
pub struct Steps<'m, 'c>(pub &'m SchemaManager<'c>);

impl<'c> Deref for Steps<'_, 'c> {
    type Target = SchemaManager<'c>;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl Steps<'_, '_> {
    pub async fn create_table(&self, table: TableCreateStatement) -> Result<(), DbErr> {
        done(self.0.create_table(table).await)
    }

    pub async fn create_index(&self, index: IndexCreateStatement) -> Result<(), DbErr> {
        done(self.0.create_index(index).await)
    }

    pub async fn alter_table(&self, change: TableAlterStatement) -> Result<(), DbErr> {
        done(self.0.alter_table(change).await)
    }

    pub async fn drop_index(&self, index: IndexDropStatement) -> Result<(), DbErr> {
        done(self.0.drop_index(index).await)
    }
}

/// What came of a step, where it is fine that it was taken already.
fn done(step: Result<(), DbErr>) -> Result<(), DbErr> {
    match step {
        Err(error) if was_taken(&error) => Ok(()),
        step => step,
    }
}

/// Whether MariaDB says that the table, the column or the index is there already, or that what goes is gone.
fn was_taken(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) =
        error
    else {
        return false;
    };
    let error = error.as_database_error();
    let error = error.and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    // ER_TABLE_EXISTS_ERROR, ER_DUP_FIELDNAME, ER_DUP_KEYNAME, ER_CANT_DROP_FIELD_OR_KEY
    error.is_some_and(|error| matches!(error.number(), 1050 | 1060 | 1061 | 1091))
}
