//! Which device is it that a user reports? Pure: the report and the rows that were found in, what becomes of each row out.

use entity::{
    DeviceId,
    device::{self, Name},
};

use super::{
    merge::{Held, may_merge},
    push_token::PushToken,
};

/// What a user reports of a device, but for the push token.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The name that the user's client gives the device.
    pub name: Name<'a>,
    /// The device that the session is on.
    pub session_device: Option<DeviceId>,
}

/// A row that was found, and whether it has the push token of the report.
#[derive(Debug)]
pub struct Found {
    pub held: Held,
    pub has_token: bool,
}

/// What the report makes of the rows that were found. A row that is in none of these fields stays as it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Identified {
    /// The device that is reported; a new one when there is none.
    pub device: Option<device::Model>,
    /// Rows that turn out to be the same device: they are merged into it.
    pub parts: Vec<device::Model>,
    /// Other devices that had the push token: they lose it, because who presents a push token last has it.
    pub losers: Vec<device::Model>,
}

/// What a row is to the report, by itself. Of several rows that may be the device, the first in this order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// The user's device of this name.
    Named,
    /// The user's device that the session is on, which was not asked for its name before.
    OfSession,
    /// A device that was known by the push token alone until now.
    OfToken,
    /// Another device, which had the push token.
    Loser,
    /// Another device, which the session is on.
    Other,
}

/// Finds the device among the rows, and says what becomes of the others.
pub fn identify(report: Report, found: Vec<Found>) -> Identified {
    let mut roles: Vec<_> = found
        .into_iter()
        .map(|found| (role(report, &found), found))
        .collect();
    roles.sort_by_key(|(role, _)| *role);
    let mut identified = Identified::default();
    let mut device: Option<Held> = None;
    for (role, Found { held, has_token }) in roles {
        match (&device, role) {
            (_, Role::Other) => {}
            (_, Role::Loser) => identified.losers.push(held.row),
            (None, _) => device = Some(held),
            (Some(device), _) if may_merge(&held, device) => identified.parts.push(held.row),
            (Some(_), _) if has_token => identified.losers.push(held.row),
            (Some(_), _) => {}
        }
    }
    identified.device = device.map(|held| held.row);
    identified
}

fn role(report: Report, found: &Found) -> Role {
    let Found { held, has_token } = found;
    let (row, sub) = (&held.row, report.name.sub);
    let is_nameless = row.client_id.is_none();
    let is_of_user = row.sub.as_deref() == Some(sub);
    let is_theirs = row.sub.is_none() || is_of_user;
    if report.name.is_of(row) {
        Role::Named
    } else if is_nameless && is_of_user && report.session_device == Some(row.id) {
        Role::OfSession
    } else if !has_token {
        Role::Other
    } else if is_nameless && (is_theirs || held.is_bare) {
        Role::OfToken
    } else {
        Role::Loser
    }
}

impl Found {
    /// The row, compared with the push token of the report.
    pub fn new(held: Held, token: &PushToken) -> Self {
        Self {
            has_token: token.is_of(&held.row),
            held,
        }
    }
}

#[cfg(test)]
mod tests;
