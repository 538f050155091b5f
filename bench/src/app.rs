//! The app that is measured with: made before, deleted afterwards.

use std::{fmt, time::Duration};

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::{
    connection::{Address, Connection, Endpoint},
    failure::{Done, Failure},
    wire,
};

/// How long a server may take to make or delete an app.
const PATIENCE: Duration = Duration::from_secs(30);

/// An app of the server that is measured, which nobody else uses.
pub struct BenchApp {
    /// As the paths of the API have it.
    pub id: String,
    /// What signs, renews and verifies.
    pub secret_key: String,
}

/// A server that runs, with what its root API asks for.
pub struct Elsewhere {
    pub address: Address,
    root_key: String,
}

impl BenchApp {
    /// What it is called.
    pub const NAME: &str = "renewd bench";
    /// Seconds that its auth tokens live.
    pub const TOKEN_EXPIRE: i64 = 3600;
    /// Seconds that its refresh tokens live.
    pub const REFRESH_EXPIRE: i64 = 7200;
    /// Seconds from one signing key to the next: a year, so that no key changes while it is measured.
    pub const ROTATION_PERIOD: i64 = 31_536_000;
}

impl fmt::Debug for BenchApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BenchApp({})", self.id)
    }
}

impl Elsewhere {
    pub fn new(url: &str, root_key: Option<&str>) -> Done<Self> {
        let missing = "--url needs the root key of that server, by RENEWD_ROOT_KEY or --root-key";
        Ok(Self {
            address: Address::parse(url)?,
            root_key: root_key.ok_or_else(|| Failure::of(missing))?.to_owned(),
        })
    }

    pub async fn create_app(&self) -> Done<BenchApp> {
        let body = json!({
            "name": BenchApp::NAME, "token_expire": BenchApp::TOKEN_EXPIRE, "refresh_expire": BenchApp::REFRESH_EXPIRE,
            "refresh_notbefore": 0, "key_type": "ECDSA", "algo": "ES256", "rotation_period": BenchApp::ROTATION_PERIOD,
        });
        let answer = self
            .once(Method::POST, "/root/create", body.to_string())
            .await?;
        let created: wire::Created<'_> = answer.read("make an app")?;
        Ok(BenchApp {
            id: created.app_id.to_owned(),
            secret_key: created.app_key.to_owned(),
        })
    }

    /// The rows are purged by the server, as ever.
    pub async fn delete_app(&self, app: &BenchApp) -> Done {
        let path = format!("/root/{}", app.id);
        let answer = self.once(Method::DELETE, &path, String::new()).await?;
        if answer.status == StatusCode::OK {
            return Ok(());
        }
        Err(answer.refusal(&format!("delete the app {} of the bench", app.id)))
    }

    async fn once(&self, method: Method, path: &str, body: String) -> Done<wire::Answer> {
        let address = &self.address;
        let endpoint = Endpoint::new(address, method, path, &self.root_key)?;
        let exchange = async {
            let mut connection = Connection::open(address).await?;
            connection.exchange(&endpoint, body).await
        };
        let late = || Failure::of(format!("{address} does not answer"));
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .unwrap_or_else(|_| Err(late()))
    }
}
