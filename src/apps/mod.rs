//! Applications: their policies, their keys, and what of them is kept in memory.

mod authenticate;
mod create;
mod delete;
mod directory;
mod flush;
pub mod keys;
mod policy;
pub mod registration;
pub mod root_key;
mod update;

use entity::{AppId, app};

pub use authenticate::{Caller, Presented, authenticate, authenticate_root};
pub use create::{Created, create};
pub use delete::delete;
pub use directory::{Directory, LoadedApp};
pub use flush::flush;
pub use keys::{MadeKey, NewAppKey, Usage};
pub use policy::{AppChanges, DEFAULT_REGISTRATION_GRACE, NewApp};
pub use update::update;

use crate::{app::App, error::Result, sessions::Listing};

/// How often something is decided anew because somebody changed apps or keys meanwhile.
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
