//! What a durable renewal costs, in CPU, beside the signatures that it cannot do without: one verification and two
//! signatures, measured in the same run. `cargo bench --bench renewal`. In process, without HTTP; 64 clients, each
//! renewing its own session. Linux only: CPU time is read from /proc.

use std::{fs, sync::Arc, time::Instant};

use entity::PlainSecret;
use keys::{Algorithm, SigningKey, TokenType};
use renewd::{
    app::App,
    apps::{self, NewApp, Presented},
    audit::Actor,
    clock::{Clock, Rng},
    config::{Config, Secrets},
    sessions::{self, Claims, Client, NewSession},
};
use serde_json::{Map, Value, json};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CLIENTS: usize = 64;
const RENEWALS: usize = 500;
const FLOOR_ROUNDS: usize = 20_000;
const RUNS: usize = 5;

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut ratios = Vec::new();
    for _ in 0..RUNS {
        let floor = floor()?;
        let (renewal, rate) = runtime.block_on(renewals())?;
        ratios.push(renewal / floor);
        say(&format!(
            "floor {floor:.1} µs, durable renewal {renewal:.1} µs of CPU, ratio {:.2}; {rate:.0} a second",
            renewal / floor
        ));
    }
    ratios.sort_by(f64::total_cmp);
    say(&format!("median ratio {:.2}", ratios[RUNS / 2]));
    Ok(())
}

/// CPU of one verification and two signatures, with parsed keys, in µs.
fn floor() -> Outcome<f64> {
    let rng = Rng::system();
    let private = keys::generate(Algorithm::Es256, &mut rng.fork())?;
    let key = SigningKey::parse("01JMWRJEJ71191KP88NDGWVYEW", Algorithm::Es256, &private)?;
    let claims = claims()?.to_json();
    let token = keys::sign(&key, TokenType::Refresh, claims.as_bytes())?;
    let before = cpu_micros()?;
    for _ in 0..FLOOR_ROUNDS {
        keys::verify::<Map<String, Value>>(&token, key.public())?;
        keys::sign(&key, TokenType::Auth, claims.as_bytes())?;
        keys::sign(&key, TokenType::Refresh, claims.as_bytes())?;
    }
    Ok((cpu_micros()? - before) / FLOOR_ROUNDS as f64)
}

/// CPU of one durable renewal in µs, and renewals a second.
async fn renewals() -> Outcome<(f64, f64)> {
    let dir = tempfile::tempdir()?;
    let mut config = Config::load(None, toml::Table::new())?;
    config.data_dir = dir.path().to_owned();
    let opened = App::open(config, Secrets::default(), Clock::system(), Rng::system()).await?;
    let app = Arc::new(opened.app);
    let made = apps::create(&app, &Actor::cli(), NewApp::named("bench".to_owned())).await?;
    let presented = Presented {
        key: PlainSecret::from_text(made.secret_key.reveal()),
        origin: None,
        request_id: None,
        ip: None,
    };
    let caller = apps::authenticate(&app, made.id, presented).await?;

    let mut tokens = Vec::new();
    for client in 0..CLIENTS {
        let new = NewSession {
            sub: format!("user-{client}"),
            ip: [203, 0, 113, 7].into(),
            user_agent: "Mozilla/5.0".to_owned(),
            device_id: None,
            claims: claims()?,
        };
        tokens.push(sessions::sign(&app, &caller, new).await?.refresh_token);
    }
    let (before, started) = (cpu_micros()?, Instant::now());
    let mut clients = tokio::task::JoinSet::new();
    for mut token in tokens {
        let (app, caller) = (app.clone(), caller.clone());
        clients.spawn(async move {
            for _ in 0..RENEWALS {
                let client = Client::default();
                token = sessions::renew(&app, &caller, &token, client)
                    .await?
                    .refresh_token;
            }
            Ok::<_, renewd::error::Error>(())
        });
    }
    for client in clients.join_all().await {
        client?;
    }
    let count = (CLIENTS * RENEWALS) as f64;
    let cpu = (cpu_micros()? - before) / count;
    let rate = count / started.elapsed().as_secs_f64();
    app.close().await?;
    Ok((cpu, rate))
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
