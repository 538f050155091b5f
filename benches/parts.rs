//! What the parts of a renewal cost, each by itself: `cargo bench --bench parts`.

use std::{
    fs::{self, File},
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use ambient::{Clock, Rng};
use criterion::{BatchSize, Criterion};
use entity::{PlainSecret, Timestamp, time::Span};
use keys::{Algorithm, MasterKey, SigningKey, TokenType};
use rand::{SeedableRng, rngs::ChaCha12Rng};
use renewd::{
    app::App,
    apps::{self, Caller, NewApp, PresentedKey},
    audit::Actor,
    config::{Config, Secrets},
    rotation::{RetryPolicy, TokenFamily},
    sessions::{self, Claims, Client, NewSession},
    start,
};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Renewals that are under way at once, where it is not one.
const TOGETHER: usize = 64;

fn main() -> Outcome<()> {
    let mut criterion = Criterion::default()
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    tokens(&mut criterion)?;
    rule(&mut criterion);
    disk(&mut criterion)?;
    whole(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

fn tokens(criterion: &mut Criterion) -> Outcome<()> {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let private = keys::generate(Algorithm::Es256, &mut rng)?;
    let key = SigningKey::parse("01JMV28FJVBKF0JG0YSG655EHY", Algorithm::Es256, &private)?;
    let master = MasterKey::generate(&mut rng)?;
    let claims = json!({
        "iss": "app", "aud": "urn:renewd:app:01JMV28FJVBKF0JG0YSG655EHY:renew", "type": "refresh",
        "iat": 1_740_427_049, "nbf": 1_740_427_049, "exp": 1_740_437_849,
        "jid": "01JMWRJEJ71191KP88NDGWVYEW", "sid": "01JMWRJEJ71191KP88NDGWVYEX",
    })
    .to_string();
    let token = keys::sign(&key, TokenType::Refresh, claims.as_bytes())?;

    let mut group = criterion.benchmark_group("token");
    group.bench_function("sign", |bencher| {
        bencher.iter(|| keys::sign(&key, TokenType::Refresh, claims.as_bytes()));
    });
    group.bench_function("verify", |bencher| {
        bencher.iter(|| keys::verify::<Value>(&token, key.public()));
    });
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            let claims = keys::claims_unverified(&token, key.public(), TokenType::Refresh)?;
            Ok::<_, Box<dyn std::error::Error>>(serde_json::from_slice::<Value>(&claims)?)
        });
    });
    group.bench_function("recognise", |bencher| {
        bencher.iter(|| master.token_mac(&token));
    });
    group.finish();
    Ok(())
}

fn rule(criterion: &mut Criterion) {
    let now = Timestamp::from_seconds(1_740_427_049);
    let family = TokenFamily::begin(1_u32);
    criterion.bench_function("rule/present", |bencher| {
        bencher.iter(|| {
            std::hint::black_box(&family).present(1, now, Span::ZERO, RetryPolicy::Repeat, 2)
        });
    });
}

/// What the disk takes for one sync of a page: no durable renewal by itself is faster.
fn disk(criterion: &mut Criterion) -> Outcome<()> {
    const FILE: usize = 4 << 20;
    let dir = tempfile::tempdir_in("/var/tmp")?;
    let mut file = File::create(dir.path().join("log"))?;
    file.write_all(&vec![7; FILE])?;
    file.sync_all()?;
    drop(file);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("log"))?;
    criterion.bench_function("disk/sync of a page", |bencher| {
        bencher.iter(|| file.write_all(&[8; 4096]).and_then(|()| file.sync_all()));
    });
    Ok(())
}

/// In process, without HTTP, on the embedded store.
fn whole(criterion: &mut Criterion) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let dir = tempfile::tempdir_in("/var/tmp")?;
    let mut config = Config::load(None, toml::Table::new())?;
    config.data_dir = dir.path().to_owned();
    let (app, caller) = runtime.block_on(open(config))?;
    let _entered = runtime.enter();

    let mut group = criterion.benchmark_group("session");
    group.bench_function("sign", |bencher| {
        bencher.iter_batched(
            new_session,
            |new| runtime.block_on(sessions::sign(&app, &caller, new)),
            BatchSize::SmallInput,
        );
    });
    for count in [1, TOGETHER] {
        let mut held = Vec::new();
        for _ in 0..count {
            let grant = runtime.block_on(sessions::sign(&app, &caller, new_session()))?;
            held.push(grant.refresh_token);
        }
        group.bench_function(format!("renew, {count} at once"), |bencher| {
            bencher.iter_custom(|rounds| {
                let started = Instant::now();
                for _ in 0..rounds {
                    let mut renewed = tokio::task::JoinSet::new();
                    for token in held.drain(..) {
                        let (app, caller) = (app.clone(), caller.clone());
                        renewed.spawn(async move {
                            sessions::renew(&app, &caller, &token, Client::default()).await
                        });
                    }
                    let grants = runtime.block_on(renewed.join_all());
                    held.extend(
                        grants
                            .into_iter()
                            .flatten()
                            .map(|grant| grant.refresh_token),
                    );
                    assert_eq!(held.len(), count, "a renewal was refused");
                }
                started.elapsed()
            });
        });
    }
    group.finish();
    runtime.block_on(app.close())?;
    Ok(())
}

async fn open(config: Config) -> Outcome<(Arc<App>, Caller)> {
    let opened = start::open(config, Secrets::default(), Clock::system(), Rng::system()).await?;
    let app = Arc::new(opened.app);
    let made = apps::create(&app, &Actor::cli(), NewApp::named("parts".to_owned())).await?;
    let presented = PresentedKey {
        key: PlainSecret::from_text(made.secret_key.reveal()),
        origin: None,
        request_id: None,
        ip: None,
    };
    let caller = apps::authenticate(&app, made.id, presented).await?;
    Ok((app, caller))
}

fn new_session() -> NewSession {
    let personal = json!({"name": "Ada Lovelace", "email": "ada@example.com", "locale": "en-GB"});
    #[expect(clippy::expect_used, reason = "these claims are good ones")]
    let claims =
        Claims::new(json!("web-app"), Some(personal), serde_json::Map::new()).expect("claims");
    NewSession {
        sub: "ada@example.com".to_owned(),
        ip: [203, 0, 113, 7].into(),
        user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
            .to_owned(),
        device_id: None,
        claims,
    }
}
