//! Frozen history: a migration that was released is never changed, and imports nothing of ours.

use sea_orm_migration::prelude::{MigrationTrait, async_trait};
pub use sea_orm_migration::prelude::{MigratorTrait, SchemaManager};

mod dialect;
mod m20261120_000001_sessions;
mod m20261120_000002_administration;
mod m20261120_000003_recognition;
mod m20261120_000004_purge;
mod m20261120_000005_devices;
mod m20261120_000006_registration;
mod m20261125_000007_app_epoch;
mod m20261125_000008_device_subjects;
mod steps;

/// Brings a store to the tables of this release.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261120_000001_sessions::Migration),
            Box::new(m20261120_000002_administration::Migration),
            Box::new(m20261120_000003_recognition::Migration),
            Box::new(m20261120_000004_purge::Migration),
            Box::new(m20261120_000005_devices::Migration),
            Box::new(m20261120_000006_registration::Migration),
            Box::new(m20261125_000007_app_epoch::Migration),
            Box::new(m20261125_000008_device_subjects::Migration),
        ]
    }
}
