//! By what the documentation groups the operations.

use poem_openapi::Tags;

/// What an operation is about, in the order in which Swagger UI shows it.
#[derive(Debug, Tags)]
pub enum Tag {
    /// Sessions: sign, renew, verify, end
    Sessions,
    /// An app and its public keys
    Keys,
    /// Devices: their push tokens and the sessions on them
    Devices,
    /// Apps, with the root key
    Administration,
    /// SmartAppPush's API: mobile apps that tell their push tokens
    SmartAppPush,
    /// Kecak Mobile's API: users who are signed in and tell the push token of their device
    Kecak,
    /// SCAEM's API: applications that replace their own token
    Scaem,
    /// Spotflow's API: devices that refresh their registration token
    Spotflow,
    /// The service itself
    Service,
}

impl Tag {
    /// The order of the sections.
    pub const ORDER: [&str; 9] = [
        "Sessions",
        "Keys",
        "Devices",
        "Administration",
        "Service",
        "SmartAppPush",
        "Kecak",
        "Scaem",
        "Spotflow",
    ];
}
