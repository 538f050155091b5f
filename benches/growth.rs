//! What a renewal costs by the number of sessions that the store has, what a session takes on disk, also after a hundred
//! renewals, and what the process takes in memory: `cargo bench --bench growth`. Behind `--`: a number, for up to so many
//! sessions (1000000 unless said), and a file that ends in `.svg`, for a plot. In process, 64 clients, each renewing sessions
//! that lie all over the table; on the embedded store, or on the empty database that `RENEWD_DATABASE_URL` names. Linux only:
//! CPU time and memory are read from /proc.

use std::{env, fs, path::Path, sync::Arc, time::Instant};

use ambient::{Clock, Rng};
use entity::{AppId, PlainSecret, SessionId, Timestamp, TokenId, session};
use plotters::prelude::{
    BLUE, ChartBuilder, Circle, Color, IntoDrawingArea, IntoLogRange, LineSeries, SVGBackend, Text,
    WHITE,
};
use rand::RngExt;
use renewd::{
    app::App,
    apps::{self, Caller, NewApp, PresentedKey},
    audit::Actor,
    config::{Config, Secrets},
    sessions::statements,
    sessions::{self, Claims, Client, NewSession},
    start,
};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CLIENTS: usize = 64;
/// Sessions that are renewed, among all the others.
const HELD: usize = 6400;
const RENEWALS: usize = 60_000;
const BATCH: usize = 256;

fn main() -> Outcome<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let most = arguments.iter().find_map(|argument| argument.parse().ok());
    let plot = arguments.iter().find(|argument| argument.ends_with(".svg"));
    let costs = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(most.unwrap_or(1_000_000)))?;
    match plot {
        Some(file) => draw(Path::new(file), &costs),
        None => Ok(()),
    }
}

/// Numbers of sessions, and what a renewal costs among so many, in µs.
async fn run(most: usize) -> Outcome<Vec<(f64, f64)>> {
    let dir = tempfile::tempdir_in("/var/tmp")?;
    let mut config = Config::load(None, toml::Table::new())?;
    config.data_dir = dir.path().to_owned();
    config.database_url = env::var("RENEWD_DATABASE_URL").unwrap_or_default();
    config.database_ca_file = env::var_os("RENEWD_DATABASE_CA_FILE")
        .unwrap_or_default()
        .into();
    let opened = start::open(config, Secrets::default(), Clock::system(), Rng::system()).await?;
    let app = Arc::new(opened.app);
    let made = apps::create(&app, &Actor::cli(), NewApp::named("growth".to_owned())).await?;
    let presented = PresentedKey {
        key: PlainSecret::from_text(made.secret_key.reveal()),
        origin: None,
        request_id: None,
        ip: None,
    };
    let caller = apps::authenticate(&app, made.id, presented).await?;

    say("sessions    CPU a renewal   renewals a second   bytes a session   resident MiB");
    let (mut count, mut size) = (0, 10_000);
    let mut costs = Vec::new();
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
        let fresh = bytes(&app).await? / count as f64;
        let (cpu, rate) = renewals(&app, &caller, &mut tokens, RENEWALS).await?;
        costs.push((count as f64, cpu));
        say(&format!(
            "{count:>9}   {cpu:>10.1} µs   {rate:>17.0}   {fresh:>15.0}   {:>12.0}",
            resident()? / 1_048_576.0
        ));
        if costs.len() == 1 {
            let worn = HELD * 100 - RENEWALS;
            renewals(&app, &caller, &mut tokens, worn).await?;
            say(&format!(
                "          after 100 renewals of each of {HELD}: {:.0} bytes a session",
                bytes(&app).await? / count as f64
            ));
        }
        size *= 10;
    }
    app.close().await?;
    Ok(costs)
}

/// The cost by the number of sessions, which grows to the right by powers of ten.
fn draw(file: &Path, costs: &[(f64, f64)]) -> Outcome<()> {
    let area = SVGBackend::new(file, (720, 400)).into_drawing_area();
    area.fill(&WHITE)?;
    let most = costs.iter().map(|(count, _)| *count).fold(1e4, f64::max);
    let dearest = costs.iter().map(|(_, cost)| *cost).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "CPU of a renewal, in process, by the number of sessions",
            ("sans-serif", 18),
        )
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(52)
        .build_cartesian_2d((8e3..most * 1.25).log_scale(), 0.0..dearest * 1.2)?;
    chart
        .configure_mesh()
        .x_desc("sessions in the store")
        .y_desc("µs")
        .x_label_formatter(&|count| format!("10^{:.0}", count.log10()))
        .draw()?;
    chart.draw_series(LineSeries::new(costs.iter().copied(), &BLUE))?;
    chart.draw_series(
        costs
            .iter()
            .map(|point| Circle::new(*point, 4, BLUE.filled())),
    )?;
    chart.draw_series(costs.iter().map(|(count, cost)| {
        Text::new(
            format!("{cost:.0}"),
            (*count, cost + dearest * 0.05),
            ("sans-serif", 14),
        )
    }))?;
    area.present()?;
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
        statements::insert(&transaction, &rows.iter().collect::<Vec<_>>()).await?;
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
        generation: session::FIRST_GENERATION,
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
    tokens: &mut Vec<String>,
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
            Ok::<_, renewd::error::Error>(own)
        });
    }
    tokens.clear();
    for client in clients.join_all().await {
        tokens.extend(client?);
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

/// What the sessions take on disk, indexes included; of the embedded store, everything but its log, which has a bound of its
/// own.
async fn bytes(app: &App) -> Outcome<f64> {
    let backend = app.store.reader.get_database_backend();
    let query = match backend {
        DbBackend::Postgres => "SELECT pg_total_relation_size('session')",
        DbBackend::MySql => {
            "SELECT CAST(data_length + index_length AS SIGNED) FROM information_schema.tables \
             WHERE table_schema = DATABASE() AND table_name = 'session'"
        }
        _ => "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
    };
    let query = Statement::from_string(backend, query);
    let row = app.store.reader.query_one_raw(query).await?;
    Ok(row.ok_or("no size")?.try_get_by_index::<i64>(0)? as f64)
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
