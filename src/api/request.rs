//! What a request says of itself: its id, and the app that its path names.

use entity::AppId;

/// The id of a request, for all that handle it.
#[derive(Clone, Debug)]
pub struct RequestName(pub String);

/// The app that a path under `/app` names, or under `/workspaces`, as Spotflow calls apps.
pub fn app_id_in(path: &str) -> Option<AppId> {
    let rest = path.strip_prefix("/app/");
    let rest = rest.or_else(|| path.strip_prefix("/workspaces/"))?;
    rest.split('/').next()?.parse().ok()
}
