//! `setting`: what belongs to the store as a whole.

use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, SqlErr,
    entity::prelude::*, sea_query::OnConflict,
};

use crate::{Timestamp, time::Span};

/// Counts the changes of what concerns the server as a whole. Processes of the release before this one count here what
/// they change of an app, too, and look nowhere else for the changes of others.
const EPOCH: &str = "epoch";
/// How much of that was counted for processes of the release before alone: changes of apps, whose own epochs tell of them.
const TOLD: &str = "epoch_told";
const MASTER_KEY: &str = "master_key";
const ROOT_KEY: &str = "root_key";
/// What is known of the time: see [`Clock`].
const CLOCK: [&str; 3] = ["clock", "clock_claimed", "clock_claimed_for"];
/// Written to see whether anything can be.
const PROBE: &str = "probe";

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "setting")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub value: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The number of changes so far of what concerns the server as a whole, and of everything that a process of the release before
/// changed.
pub async fn server_epoch(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let rows = Entity::find()
        .filter(Column::Name.is_in([EPOCH, TOLD]))
        .all(db)
        .await?;
    let value = |name: &str| {
        let row = rows.iter().find(|row| row.name == name);
        row.map_or(0, |row| row.value)
    };
    Ok(value(EPOCH) - value(TOLD))
}

/// Lets processes of the release before this one see that an app was changed.
pub async fn tell_older_releases(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    count_up(db, &[EPOCH, TOLD]).await
}

/// The number that processes of the release before this one follow.
pub async fn epoch(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let row = Entity::find_by_id(EPOCH).one(db).await?;
    Ok(row.map_or(0, |row| row.value))
}

/// The fingerprint of the master key that seals the signing keys, once there are any.
pub async fn master_key(db: &impl ConnectionTrait) -> Result<Option<i64>, DbErr> {
    let row = Entity::find_by_id(MASTER_KEY).one(db).await?;
    Ok(row.map(|row| row.value))
}

/// Notes the fingerprint of the master key that seals, unless there is one; gives the one that is there now.
pub async fn claim_master_key(db: &impl ConnectionTrait, fingerprint: i64) -> Result<i64, DbErr> {
    let first = ActiveModel {
        name: Set(MASTER_KEY.to_owned()),
        value: Set(fingerprint),
    };
    let once = OnConflict::column(Column::Name)
        .do_nothing_on([Column::Name])
        .to_owned();
    Entity::insert(first)
        .on_conflict(once)
        .exec_without_returning(db)
        .await?;
    Ok(master_key(db).await?.unwrap_or(fingerprint))
}

/// Claims the making of the first root key. `false` when it was claimed before: then the transaction is to be given up.
pub async fn claim_root_key(db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    let row = ActiveModel {
        name: Set(ROOT_KEY.to_owned()),
        value: Set(1),
    };
    match Entity::insert(row).exec_without_returning(db).await {
        Ok(_) => Ok(true),
        Err(error) => match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Ok(false),
            _ => Err(error),
        },
    }
}

/// Notes the fingerprint of the master key that seals from now on.
pub async fn set_master_key(db: &impl ConnectionTrait, fingerprint: i64) -> Result<(), DbErr> {
    set(db, MASTER_KEY, fingerprint).await
}

/// Writes a number that nobody reads, to see whether anything can be written.
pub async fn write_probe(db: &impl ConnectionTrait, value: i64) -> Result<(), DbErr> {
    set(db, PROBE, value).await
}

async fn set(db: &impl ConnectionTrait, name: &str, value: i64) -> Result<(), DbErr> {
    let row = ActiveModel {
        name: Set(name.to_owned()),
        value: Set(value),
    };
    Entity::insert(row)
        .on_conflict(
            OnConflict::column(Column::Name)
                .update_column(Column::Value)
                .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// What the store knows of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// The newest time that a clock showed which was believed.
    pub newest: Option<Timestamp>,
    /// What a clock shows that is not believed.
    pub claim: Option<Claim>,
}

/// A time that nothing else speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub at: Timestamp,
    /// For how long servers have run by that clock.
    pub held_for: Span,
}

/// What the store knows of the time.
pub async fn clock(db: &impl ConnectionTrait) -> Result<Clock, DbErr> {
    let rows = Entity::find()
        .filter(Column::Name.is_in(CLOCK))
        .all(db)
        .await?;
    let value = |name| {
        rows.iter()
            .find(|row| row.name == name)
            .map(|row| row.value)
    };
    let claimed = value(CLOCK[1]).zip(value(CLOCK[2]));
    Ok(Clock {
        newest: value(CLOCK[0]).map(Timestamp::from_millis),
        claim: claimed.map(|(at, held_for)| Claim {
            at: Timestamp::from_millis(at),
            held_for: Span::millis(held_for),
        }),
    })
}

/// Notes what is known of the time, where it differs from what `known` was.
pub async fn set_clock(db: &impl ConnectionTrait, known: Clock, now: Clock) -> Result<(), DbErr> {
    if let Some(newest) = now.newest.filter(|_| now.newest != known.newest) {
        set(db, CLOCK[0], newest.as_millis()).await?;
    }
    match now.claim {
        Some(claim) => {
            set(db, CLOCK[1], claim.at.as_millis()).await?;
            set(db, CLOCK[2], claim.held_for.as_millis()).await
        }
        None if known.claim.is_some() => {
            let delete = Entity::delete_many().filter(Column::Name.is_in([CLOCK[1], CLOCK[2]]));
            delete.exec(db).await.map(|_| ())
        }
        None => Ok(()),
    }
}

/// Counts a change of what concerns the server as a whole, in the transaction that makes it: nobody else makes one until
/// that ends.
pub async fn advance_epoch(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    count_up(db, &[EPOCH]).await
}

async fn count_up(db: &impl ConnectionTrait, names: &[&str]) -> Result<(), DbErr> {
    let first = names.iter().map(|name| ActiveModel {
        name: Set((*name).to_owned()),
        value: Set(1),
    });
    let next = Expr::col((Entity, Column::Value)).add(1);
    Entity::insert_many(first)
        .on_conflict(
            OnConflict::column(Column::Name)
                .value(Column::Value, next)
                .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    Ok(())
}
