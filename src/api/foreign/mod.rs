//! The surfaces of other documented systems, so that their clients work unchanged.

mod kecak;
mod scaem;
mod smart_app_push;
mod spotflow;

use crate::api::{
    cors::Cors,
    foreign::{
        kecak::Kecak,
        scaem::Scaem,
        smart_app_push::SmartAppPush,
        spotflow::{CreateRegistration, RefreshRegistration},
    },
    group::{Group, Ways},
};

/// Every operation of another system, in the ways of its group.
pub type Foreign = (
    Group<ByBody, (SmartAppPush, Kecak)>,
    Group<ByToken, (Scaem, RefreshRegistration)>,
    Group<OnWorkspace, CreateRegistration>,
);

/// The ways of what pages call as well, where the app is named by the body or by the token that is shown.
#[derive(Debug)]
pub enum ByBody {}

impl Ways for ByBody {
    const APP_IN_PATH: bool = false;
    const CORS: Cors = Cors::AppInside;
}

/// The ways of what no page calls.
#[derive(Debug)]
pub enum ByToken {}

impl Ways for ByToken {
    const APP_IN_PATH: bool = false;
    const CORS: Cors = Cors::Nobody;
}

/// The ways of a workspace, which is an app.
#[derive(Debug)]
pub enum OnWorkspace {}

impl Ways for OnWorkspace {
    const APP_IN_PATH: bool = true;
    const CORS: Cors = Cors::Nobody;
}
