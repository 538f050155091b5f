//! `lease`: which process runs a job, and how its last run went.

use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    entity::prelude::*, sea_query::OnConflict,
};

use crate::{NodeId, Timestamp, time::Span};

/// How far ahead the end of a lease may be: it is taken for 30 seconds, by a clock that may differ. One that ends later was
/// taken by a clock that was wrong, and is free.
const LONGEST: Span = Span::seconds(90);

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "lease")]
pub struct Model {
    /// The job.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub holder: Option<NodeId>,
    pub expires_at: Timestamp,
    pub last_run_at: Option<Timestamp>,
    /// What the last run that succeeded did.
    pub last_rows: Option<i64>,
    /// Why the last run failed, if it did.
    pub last_error: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// Who holds it at `now`.
    pub fn holder_at(&self, now: Timestamp) -> Option<NodeId> {
        self.holder
            .filter(|_| now < self.expires_at && self.expires_at <= now + LONGEST)
    }
}

/// Takes or extends the lease, if nobody else holds it at `now`. `false` when somebody does.
pub async fn take(
    db: &impl ConnectionTrait,
    name: &str,
    node: NodeId,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, DbErr> {
    let row = ActiveModel {
        name: Set(name.to_owned()),
        holder: Set(None),
        expires_at: Set(now),
        last_run_at: Set(None),
        last_rows: Set(None),
        last_error: Set(None),
    };
    Entity::insert(row)
        .on_conflict(
            OnConflict::column(Column::Name)
                .do_nothing_on([Column::Name])
                .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    let free = Column::Holder
        .eq(node)
        .or(Column::Holder.is_null())
        .or(Column::ExpiresAt.lte(now))
        .or(Column::ExpiresAt.gt(now + LONGEST));
    let update = Entity::update_many()
        .set(ActiveModel {
            holder: Set(Some(node)),
            expires_at: Set(until),
            ..Default::default()
        })
        .filter(Column::Name.eq(name))
        .filter(free);
    Ok(update.exec(db).await?.rows_affected == 1)
}

/// Notes how a run ended, and lets the next process have the lease.
pub async fn release(
    db: &impl ConnectionTrait,
    name: &str,
    node: NodeId,
    now: Timestamp,
    result: Result<i64, String>,
) -> Result<(), DbErr> {
    let (rows, error) = match result {
        Ok(rows) => (Set(Some(rows)), Set(None)),
        Err(error) => (Default::default(), Set(Some(error))),
    };
    Entity::update_many()
        .set(ActiveModel {
            // Free by every clock.
            holder: Set(None),
            expires_at: Set(now),
            last_run_at: Set(Some(now)),
            last_rows: rows,
            last_error: error,
            ..Default::default()
        })
        .filter(Column::Name.eq(name))
        .filter(Column::Holder.eq(node))
        .exec(db)
        .await?;
    Ok(())
}

/// Every job.
pub async fn list(db: &impl ConnectionTrait) -> Result<Vec<Model>, DbErr> {
    Entity::find().order_by_asc(Column::Name).all(db).await
}
