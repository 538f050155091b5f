//! How the engines' tables differ. Frozen with the migrations that use it.

use sea_orm_migration::{
    prelude::{ColumnDef, ConnectionTrait, DbErr, Expr, IntoIden, SchemaManager, Table},
    sea_orm::{DbBackend, Statement},
    sea_query::{ConditionalStatement, ExprTrait, IndexCreateStatement, TableCreateStatement},
};

/// What a table of this store is made of.
pub struct Dialect {
    backend: DbBackend,
    /// Bytewise, and a space at the end counts: `a` and `a ` are two subjects.
    collation: &'static str,
}

impl Dialect {
    pub async fn of(manager: &SchemaManager<'_>) -> Result<Self, DbErr> {
        let backend = manager.get_database_backend();
        let collation = match backend {
            DbBackend::MySql => binary_collation(manager).await?,
            _ => "",
        };
        Ok(Self { backend, collation })
    }

    /// An empty table.
    pub fn table(&self, name: impl IntoIden) -> TableCreateStatement {
        let mut table = Table::create();
        table.table(name.into_iden());
        if self.backend == DbBackend::MySql {
            table.character_set("utf8mb4").collate(self.collation);
        }
        table
    }

    /// A ULID.
    pub fn id(&self, name: impl IntoIden) -> ColumnDef {
        let mut column = ColumnDef::new(name);
        match self.backend {
            // A parameter is text, and CHAR is compared with text without its index.
            DbBackend::Postgres => column.string_len(26).extra("COLLATE \"C\""),
            _ => column.char_len(26),
        };
        column
    }

    /// A text that is looked up, never sorted by.
    pub fn text(&self, name: impl IntoIden, longest: u32) -> ColumnDef {
        let mut column = ColumnDef::new(name);
        column.string_len(longest);
        if self.backend == DbBackend::Postgres {
            column.extra("COLLATE \"C\"");
        }
        column
    }

    /// An index of the rows that have a value in `column`: a row without one costs it nothing, where the engine can leave
    /// it out.
    pub fn where_known(
        &self,
        mut index: IndexCreateStatement,
        column: impl IntoIden,
    ) -> IndexCreateStatement {
        if self.backend != DbBackend::MySql {
            index.and_where(Expr::col(column.into_iden()).is_not_null());
        }
        index
    }
}

/// A number: a time, a length of time, a count.
pub fn count(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).big_integer().to_owned()
}

async fn binary_collation(manager: &SchemaManager<'_>) -> Result<&'static str, DbErr> {
    let version = Statement::from_string(DbBackend::MySql, "SELECT VERSION() AS version");
    let row = manager.get_connection().query_one_raw(version).await?;
    let version: String = row.map_or(Ok(String::new()), |row| row.try_get("", "version"))?;
    Ok(if version.contains("MariaDB") {
        "utf8mb4_nopad_bin"
    } else {
        "utf8mb4_0900_bin"
    })
}
