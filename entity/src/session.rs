//! `session`: one row a session, updated in place by each renewal. No token is stored.

use aws_lc_rs::constant_time;
use sea_orm::{
    ActiveEnum, ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Select, entity::prelude::*,
};

use crate::{AppId, DeviceId, SessionId, SigningKeyId, Timestamp, TokenId};

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "session")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: SessionId,
    pub app_id: AppId,
    pub sub: String,
    /// A JSON object of `aud`, `personal` and the custom claims, as they are signed.
    pub claims: String,
    pub ip: String,
    pub user_agent: String,
    pub device_id: Option<DeviceId>,
    /// `jid` of the live pair of tokens.
    pub token_id: TokenId,
    /// The key that signed them.
    pub key_id: SigningKeyId,
    /// `jid` of the pair before, while it may be presented once more.
    pub parent_id: Option<TokenId>,
    pub parent_until: Option<Timestamp>,
    /// [`FIRST_GENERATION`], and the renewals so far.
    pub generation: i64,
    /// The app's count of flushes when the session began.
    pub flush_count: i64,
    pub issued_at: Timestamp,
    /// `nbf` and `exp` of the auth token.
    pub auth_not_before: Timestamp,
    pub auth_expires_at: Timestamp,
    /// `nbf` and `exp` of the refresh token.
    pub not_before: Timestamp,
    pub expires_at: Timestamp,
    /// When the row may go: see [`purge_at`].
    pub purge_at: Timestamp,
    /// The keyed hash of the refresh token that was handed out last, where it is known.
    pub refresh_mac: Option<TokenMac>,
    /// When the session ends at the latest, however often it is renewed.
    pub ends_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub revoked_for: Option<Revocation>,
}

/// The generation of a session that begins. A number of three bytes, as those that follow: the embedded store writes a number
/// in as few as it needs, and a row that became longer would split its page.
pub const FIRST_GENERATION: i64 = 1 << 16;

/// A keyed hash of a token, 128 bits. The key is not in the store.
#[derive(Clone, DeriveValueType)]
pub struct TokenMac(Vec<u8>);

impl TokenMac {
    /// From its bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes.to_vec())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

// In constant time: what is compared with it comes from outside.
impl PartialEq for TokenMac {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for TokenMac {}

impl std::fmt::Debug for TokenMac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenMac(redacted)")
    }
}

/// Why a session was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))")]
pub enum Revocation {
    /// Its user, or a backend, ended it.
    #[sea_orm(string_value = "logout")]
    Logout,
    /// A refresh token was presented a second time (RFC 9700 section 4.14.2).
    #[sea_orm(string_value = "reuse")]
    Reuse,
    /// Its subject began more sessions than the app allows.
    #[sea_orm(string_value = "limit")]
    Limit,
    /// The store was restored from a copy that is older than the session.
    #[sea_orm(string_value = "restore")]
    Restore,
    /// Its device was ended.
    #[sea_orm(string_value = "device")]
    Device,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// Renewals so far.
    pub fn renewals(&self) -> i64 {
        // Sessions of the first releases began at zero.
        if self.generation < FIRST_GENERATION {
            self.generation
        } else {
            self.generation - FIRST_GENERATION
        }
    }

    /// Whether it was ended before its time.
    pub fn is_revoked(&self) -> bool {
        self.revoked_at.is_some()
    }
}

impl Revocation {
    /// Its name in logs and in the store.
    pub fn name(self) -> String {
        self.to_value()
    }
}

// Claims, addresses and user agents are personal data: they stay out of every log.
impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("id", &self.id)
            .field("app_id", &self.app_id)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// The session, if it is one of the app.
pub async fn find_in(
    db: &impl ConnectionTrait,
    app_id: AppId,
    id: SessionId,
) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id)
        .filter(Column::AppId.eq(app_id))
        .one(db)
        .await
}

/// The sessions of a subject that can still be renewed: neither revoked, nor past, nor flushed, nor
/// signed by a revoked key.
pub fn renewable_of(
    app_id: AppId,
    sub: &str,
    flush_count: i64,
    revoked_keys: impl IntoIterator<Item = SigningKeyId>,
    now: Timestamp,
) -> Select<Entity> {
    Entity::find()
        .filter(Column::AppId.eq(app_id))
        .filter(Column::Sub.eq(sub))
        .filter(Column::RevokedAt.is_null())
        .filter(Column::ExpiresAt.gt(now))
        .filter(Column::KeyId.is_not_in(revoked_keys))
        .filter(Column::FlushCount.eq(flush_count))
}

/// At most `limit` of these sessions, begun before `before`, the newest first.
pub async fn page(
    db: &impl ConnectionTrait,
    query: Select<Entity>,
    before: Option<SessionId>,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let query = match before {
        Some(before) => query.filter(Column::Id.lt(before)),
        None => query,
    };
    query.order_by_desc(Column::Id).limit(limit).all(db).await
}

/// The ids of these sessions, but for the `keep` that began last.
pub async fn oldest_beyond(
    db: &impl ConnectionTrait,
    query: Select<Entity>,
    keep: u64,
) -> Result<Vec<SessionId>, DbErr> {
    let ids: Vec<SessionId> = query
        .select_only()
        .column(Column::Id)
        .order_by_desc(Column::Id)
        .into_tuple()
        .all(db)
        .await?;
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    Ok(ids.into_iter().skip(keep).collect())
}

/// What to end.
#[derive(Clone, Debug)]
pub enum Target {
    Session(SessionId),
    /// All sessions of a subject, but for one.
    Subject(String, Option<SessionId>),
    /// All sessions on a device, of every subject.
    Device(DeviceId),
}

/// Ends the sessions of `target` in the app that have not been ended, also expired ones: a node whose clock is behind, or the
/// leeway, may still renew what has expired. `flush_count` is how often the app is known to have been flushed: what an earlier flush
/// ended is not ended again. Gives the number of sessions that this ended.
pub async fn revoke_in(
    db: &impl ConnectionTrait,
    app_id: AppId,
    flush_count: i64,
    target: &Target,
    reason: Revocation,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let update = Entity::update_many()
        .set(ActiveModel {
            revoked_at: Set(Some(now)),
            revoked_for: Set(Some(reason)),
            ..Default::default()
        })
        .filter(Column::AppId.eq(app_id))
        .filter(Column::FlushCount.gte(flush_count))
        .filter(Column::RevokedAt.is_null());
    let update = match target {
        Target::Session(id) => update.filter(Column::Id.eq(*id)),
        Target::Subject(sub, None) => update.filter(Column::Sub.eq(sub)),
        Target::Subject(sub, Some(except)) => update
            .filter(Column::Sub.eq(sub))
            .filter(Column::Id.ne(*except)),
        Target::Device(id) => update.filter(Column::DeviceId.eq(*id)),
    };
    Ok(update.exec(db).await?.rows_affected)
}

/// Replaces the claims that the next renewal carries, if they are still the ones that were read and the
/// session is live. `false` otherwise.
pub async fn replace_claims(
    db: &impl ConnectionTrait,
    previous: &Model,
    claims: String,
) -> Result<bool, DbErr> {
    let update = Entity::update_many()
        .set(ActiveModel {
            claims: Set(claims),
            ..Default::default()
        })
        .filter(Column::Id.eq(previous.id))
        .filter(Column::Claims.eq(&previous.claims))
        .filter(Column::RevokedAt.is_null());
    Ok(update.exec(db).await?.rows_affected == 1)
}

/// Ties a session of the app to a device, if it is live. `false` otherwise.
pub async fn tie(
    db: &impl ConnectionTrait,
    app_id: AppId,
    id: SessionId,
    device_id: DeviceId,
) -> Result<bool, DbErr> {
    let update = Entity::update_many()
        .set(on_device(device_id))
        .filter(Column::Id.eq(id))
        .filter(Column::AppId.eq(app_id))
        .filter(Column::RevokedAt.is_null());
    Ok(update.exec(db).await?.rows_affected == 1)
}

/// Whether there is a session on the device of the app that has not ended.
pub async fn lives_on(
    db: &impl ConnectionTrait,
    app_id: AppId,
    device_id: DeviceId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let live = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::DeviceId.eq(device_id))
        .filter(Column::AppId.eq(app_id))
        .filter(Column::RevokedAt.is_null())
        .filter(Column::ExpiresAt.gt(now));
    let found: Option<SessionId> = live.into_tuple().one(db).await?;
    Ok(found.is_some())
}

/// Ties the sessions on a device of the app to another one, of the same subject.
pub async fn move_to(
    db: &impl ConnectionTrait,
    app_id: AppId,
    from: DeviceId,
    to: DeviceId,
) -> Result<(), DbErr> {
    Entity::update_many()
        .set(on_device(to))
        .filter(Column::AppId.eq(app_id))
        .filter(Column::DeviceId.eq(from))
        .exec(db)
        .await?;
    Ok(())
}

fn on_device(id: DeviceId) -> ActiveModel {
    ActiveModel {
        device_id: Set(Some(id)),
        ..Default::default()
    }
}

/// Ends every session that could have been renewed after `since`; gives the number.
pub async fn revoke_renewable_after(
    db: &impl ConnectionTrait,
    since: Timestamp,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let update = Entity::update_many()
        .set(ActiveModel {
            revoked_at: Set(Some(now)),
            revoked_for: Set(Some(Revocation::Restore)),
            ..Default::default()
        })
        .filter(Column::RevokedAt.is_null())
        .filter(Column::ExpiresAt.gt(since));
    Ok(update.exec(db).await?.rows_affected)
}

/// When the row of a session may go whose refresh token expires then: a day or two later, by the whole day (UTC). So most
/// renewals change no index: this column alone of those that they write has one.
pub const fn purge_at(expires_at: Timestamp) -> Timestamp {
    const DAY: i64 = 86_400_000;
    let day = expires_at.as_millis().div_euclid(DAY);
    Timestamp::from_millis(day.saturating_add(2).saturating_mul(DAY))
}

/// Removes at most `limit` sessions whose time is over; gives the number.
pub async fn purge_expired(
    db: &impl ConnectionTrait,
    now: Timestamp,
    limit: u64,
) -> Result<u64, DbErr> {
    purge(db, Entity::find().filter(Column::PurgeAt.lte(now)), limit).await
}

/// Removes at most `limit` sessions of the app; gives the number.
pub async fn purge_in(db: &impl ConnectionTrait, app_id: AppId, limit: u64) -> Result<u64, DbErr> {
    purge(db, Entity::find().filter(Column::AppId.eq(app_id)), limit).await
}

async fn purge(db: &impl ConnectionTrait, query: Select<Entity>, limit: u64) -> Result<u64, DbErr> {
    // Two statements: not every engine takes a LIMIT in a DELETE, or in its sub-query.
    let ids: Vec<SessionId> = query
        .select_only()
        .column(Column::Id)
        .limit(limit)
        .into_tuple()
        .all(db)
        .await?;
    let delete = Entity::delete_many().filter(Column::Id.is_in(ids));
    Ok(delete.exec(db).await?.rows_affected)
}
