//! Applications: their policies, their keys, and what of them is kept in memory.

mod authenticate;
mod create;
mod delete;
mod directory;
mod flush;
mod freshness;
pub mod keys;
mod news;
mod policy;
pub mod registration;
mod revision;
mod revoke_all;
mod right;
pub mod root_key;
mod turns;
mod update;

use entity::{AppId, app};

pub use authenticate::{Caller, Presented, authenticate, authenticate_root};
pub use create::{Created, create};
pub use delete::delete;
pub use directory::{Directory, LoadedApp};
pub use flush::flush;
pub use keys::{MadeKey, NewAppKey, Usage};
pub use policy::{AppChanges, DEFAULT_REGISTRATION_GRACE, NewApp, check_audiences};
pub use revision::Revision;
pub use revoke_all::revoke_all;
pub use turns::{Turn, Turns};
pub use update::update;

use crate::{app::App, error::Result, sessions::Listing};

/// How often something is decided anew because somebody changed what it is decided by.
pub const ATTEMPTS: usize = 8;

/// The apps, the newest first, at most `limit` of them.
///
/// # Errors
/// Those of the store.
pub async fn list(
    app: &App,
    before: Option<AppId>,
    limit: u64,
) -> Result<Listing<app::Model, AppId>> {
    let rows = app::list(&app.store.reader, before, limit + 1).await?;
    Ok(Listing::cut(rows, limit, |app| app.id))
}
