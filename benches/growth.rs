//! What a renewal costs by the number of sessions that the store has, what a session takes on disk, and what the process takes
//! in memory. `cargo bench --bench growth`; with a number behind `--`, up to so many sessions (1000000 unless said). In
//! process, on the embedded store, 64 clients, each renewing sessions that lie all over the table. Linux only: CPU time and
//! memory are read from /proc.

use std::{fs, sync::Arc, time::Instant};

use entity::{AppId, PlainSecret, SessionId, Timestamp, TokenId, session};
use rand::RngExt;
use renewd::{
    app::App,
    apps::{self, Caller, NewApp, Presented},
    audit::Actor,
    clock::{Clock, Rng},
    config::{Config, Secrets},
    sessions::{self, Claims, Client, NewSession},
    store::statements,
};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CLIENTS: usize = 64;
/// Sessions that are renewed, among all the others.
const HELD: usize = 6400;
const RENEWALS: usize = 30_000;
const BATCH: usize = 256;

fn main() -> Outcome<()> {
    let most = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(1_000_000);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(most))
}

async fn run(most: usize) -> Outcome<()> {
    let dir = tempfile::tempdir_in("/var/tmp")?;
    let mut config = Config::load(None, toml::Table::new())?;
    config.data_dir = dir.path().to_owned();
    let opened = App::open(config, Secrets::default(), Clock::system(), Rng::system()).await?;
    let app = Arc::new(opened.app);
    let made = apps::create(&app, &Actor::cli(), NewApp::named("growth".to_owned())).await?;
    let presented = Presented {
        key: PlainSecret::from_text(made.secret_key.reveal()),
        origin: None,
        request_id: None,
        ip: None,
    };
    let caller = apps::authenticate(&app, made.id, presented).await?;

    say("sessions    CPU a renewal   renewals a second   bytes a session   resident MiB");
    let (mut count, mut size) = (0, 10_000);
    while size <= most {
        let mut tokens = Vec::with_capacity(HELD);
        let fill = (size - count).saturating_sub(HELD);
        for held in 0..HELD {
            let until = fill * (held + 1) / HELD;
            let before = fill * held / HELD;
            fillers(&app, made.id, until - before).await?;
            tokens.push(sign(&app, &caller, held).await?);
        }
        count += fill + HELD;
        let (cpu, rate) = renewals(&app, &caller, tokens, RENEWALS).await?;
        say(&format!(
            "{count:>9}   {cpu:>10.1} µs   {rate:>17.0}   {:>15.0}   {:>12.0}",
            bytes(dir.path())? / count as f64,
            resident()? / 1_048_576.0
        ));
        size *= 10;
    }
    app.close().await?;
    Ok(())
}

/// Sessions that nobody renews, begun now.
async fn fillers(app: &App, app_id: AppId, count: usize) -> Outcome<()> {
    let claims = claims()?.to_json();
    let mut left = count;
    while left > 0 {
        let now = app.clock.now();
        let rows: Vec<_> = (0..left.min(BATCH))
            .map(|_| filler(app, app_id, now, &claims))
            .collect();
        let transaction = app.store.begin().await?;
        statements::insert(&transaction, &rows).await?;
        app.store.commit(transaction).await?;
        left -= rows.len();
    }
    Ok(())
}

fn filler(app: &App, app_id: AppId, now: Timestamp, claims: &str) -> session::Model {
    let (id, token_id, key_id, subject) = app.rng.with(|mut rng| {
        let id = SessionId::mint(now, &mut rng);
        let token_id = TokenId::mint(now, &mut rng);
        let key_id = entity::SigningKeyId::mint(now, &mut rng);
        (id, token_id, key_id, rng.random::<u32>())
    });
    let end = now + entity::time::Span::seconds(1_209_600);
    session::Model {
        id,
        app_id,
        sub: format!("user-{subject}@example.com"),
        claims: claims.to_owned(),
        ip: "203.0.113.7".to_owned(),
        user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
            .to_owned(),
        device_id: None,
        token_id,
        key_id,
        parent_id: None,
        parent_until: None,
        generation: 0,
        flush_count: 0,
        issued_at: now,
        auth_not_before: now,
        auth_expires_at: end,
        not_before: now,
        expires_at: end,
        purge_at: session::purge_at(end),
        refresh_mac: Some(session::TokenMac::new([7; 16])),
        ends_at: None,
        revoked_at: None,
        revoked_for: None,
    }
}

async fn sign(app: &App, caller: &Caller, number: usize) -> Outcome<String> {
    let new = NewSession {
        sub: format!("holder-{number}@example.com"),
        ip: [203, 0, 113, 7].into(),
        user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
            .to_owned(),
        device_id: None,
        claims: claims()?,
    };
    Ok(sessions::sign(app, caller, new).await?.refresh_token)
}

/// CPU of one renewal in µs, and renewals a second.
async fn renewals(
    app: &Arc<App>,
    caller: &Caller,
    tokens: Vec<String>,
    count: usize,
) -> Outcome<(f64, f64)> {
    let (before, started) = (cpu_micros()?, Instant::now());
    let mut clients = tokio::task::JoinSet::new();
    for own in tokens.chunks(HELD / CLIENTS) {
        let (app, caller, mut own) = (app.clone(), caller.clone(), own.to_vec());
        clients.spawn(async move {
            for turn in 0..count / CLIENTS {
                let index = turn % own.len();
                let client = Client::default();
                let grant = sessions::renew(&app, &caller, &own[index], client).await?;
                own[index] = grant.refresh_token;
            }
            Ok::<_, renewd::error::Error>(())
        });
    }
    for client in clients.join_all().await {
        client?;
    }
    let done = (count / CLIENTS * CLIENTS) as f64;
    Ok((
        (cpu_micros()? - before) / done,
        done / started.elapsed().as_secs_f64(),
    ))
}

/// Two hundred bytes or so, as a user's claims are.
fn claims() -> Outcome<Claims> {
    let personal = json!({"name": "Ada Lovelace", "email": "ada@example.com", "locale": "en-GB"});
    let custom = json!({"role": "admin", "tenant": "analytical-engines", "scope": "read write"});
    let Value::Object(custom) = custom else {
        return Err("not an object".into());
    };
    Ok(Claims::new(json!("web-app"), Some(personal), custom)?)
}

/// Of the store, its log apart, which has a bound of its own.
fn bytes(folder: &std::path::Path) -> Outcome<f64> {
    Ok(fs::metadata(folder.join("renewd.db"))?.len() as f64)
}

fn resident() -> Outcome<f64> {
    const PAGE: f64 = 4096.0;
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).ok_or("no statm")?;
    Ok(pages.parse::<f64>()? * PAGE)
}

/// User and system time of this process.
fn cpu_micros() -> Outcome<f64> {
    const TICK_MICROS: f64 = 10_000.0;
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name of the program may hold spaces; the numbers begin after its parenthesis.
    let numbers = stat.rsplit(')').next().ok_or("no stat")?;
    let ticks = numbers.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks * TICK_MICROS)
}

#[expect(clippy::print_stdout, reason = "the result of a benchmark")]
fn say(text: &str) {
    println!("{text}");
}
