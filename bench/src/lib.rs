//! The load generator behind `renewd bench`. It knows of renewd what a client knows, its HTTP API, and is told the rest.

mod app;
mod check;
mod client;
mod connection;
mod course;
mod cpu;
mod failure;
mod floor;
mod folder;
mod latency;
mod measure;
mod options;
mod progress;
mod report;
mod run;
mod sample;
mod server;
mod subject;
mod summary;
mod token;
mod wire;

pub use self::{
    app::BenchApp,
    failure::{Done, During, Failure},
    folder::Folder,
    options::Options,
    server::OwnServer,
};

use self::{
    app::Elsewhere, client::Client, connection::Address, floor::Floor, measure::Probes,
    progress::Progress, report::Report, server::Server, subject::Subject,
};

/// Of the answers, so many in a hundred may be 503.
const TOLERATED_UNAVAILABLE_PERCENT: u64 = 1;

/// What is to be measured.
#[derive(Debug)]
pub struct Bench {
    options: Options,
    is_json: bool,
    probes: Probes,
}

impl Bench {
    /// As its user asks for it. `is_json`: prints one JSON object when all is done, instead of lines while it goes.
    ///
    /// # Errors
    /// When each connection would not have a session, or the CPU time of the database cannot be read.
    pub fn new(options: Options, is_json: bool) -> Done<Self> {
        if options.load.sessions < options.load.connections {
            return Err(Failure::of(
                "--sessions must be at least --connections: each connection has sessions of its own",
            ));
        }
        let probes = Probes::new(options.database_pid)?;
        Ok(Self {
            options,
            is_json,
            probes,
        })
    }

    /// The server that the user names; `None` when the bench is to have one of its own.
    pub fn url(&self) -> Option<&str> {
        self.options.url.as_deref()
    }

    /// Measures the server at `url`, by an app that is made there for it. `stop` ends the bench early; the app is deleted
    /// in any case.
    ///
    /// # Errors
    /// When there is no root key, something cannot be done, an answer is wrong, too many are 503, or it was stopped.
    pub async fn elsewhere(&self, url: &str, stop: impl Future<Output = ()>) -> Done {
        let server = Elsewhere::new(url, self.options.root_key.as_deref())?;
        let app = server.create_app().await?;
        let subject = Subject {
            server: server.address.to_string(),
            store: None,
        };
        let measuring = self.measure(&server.address, &app, &self.probes, subject);
        let done = until(stop, measuring).await;
        let deleted = server.delete_app(&app).await;
        done?;
        deleted
    }

    /// Starts a server, measures it by that app of its store, and ends it, which `stop` does early.
    ///
    /// # Errors
    /// When something cannot be done, an answer is wrong, too many are 503, or it was stopped.
    pub async fn own(
        &self,
        server: OwnServer,
        app: &BenchApp,
        stop: impl Future<Output = ()>,
    ) -> Done {
        let subject = Subject {
            server: "self".to_owned(),
            store: Some(server.store.clone()),
        };
        let measuring = async {
            let server = Server::start(server).await?;
            let address = Address::parse(&server.url)?;
            let probes = self.probes.with_server(server.pid());
            self.measure(&address, app, &probes, subject).await
        };
        until(stop, measuring).await
    }

    async fn measure(
        &self,
        address: &Address,
        app: &BenchApp,
        probes: &Probes,
        subject: Subject,
    ) -> Done {
        let Options { load, runs, .. } = &self.options;
        let mut report = Report::new(subject, load, self.is_json);
        report.begin()?;

        let progress = Progress::new();
        let mut clients = Client::connect(address, app, load).await?;
        clients = measure::begin_sessions(clients, load, &progress).await?;
        let floor = Floor::new(load.operation, &clients)?;
        for number in 1..=*runs {
            progress.name_run(number, *runs);
            let run;
            (clients, run) = measure::run(clients, load, &floor, probes, &progress).await?;
            report.add(run, *runs)?;
        }
        let refused = check::used_tokens(&mut clients).await?;
        report.end(refused)?;
        report.tolerate_unavailable(TOLERATED_UNAVAILABLE_PERCENT)
    }
}

async fn until(stop: impl Future<Output = ()>, work: impl Future<Output = Done>) -> Done {
    tokio::select! {
        done = work => done,
        () = stop => Err(Failure::of("interrupted")),
    }
}
