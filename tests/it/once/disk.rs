//! The embedded store on a disk that is full, that fails, or that loses its power: nothing is told to be done that is not.

mod site;

use std::{
    env,
    fs::{self, File},
    io::{self, Write},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use self::site::{Site, Told, within};
use crate::faults::{ALL, Disk, Loss, MAIN, WAL};

/// How long a disk is out of order.
const TROUBLE: Duration = Duration::from_secs(4);

/// A disk that this makes fail, until it is healed.
#[track_caller]
fn a_disk_that_fails(fail: impl Fn(&Disk)) {
    let site = Site::start();
    let site = nothing_is_told_that_is_not_so(
        site,
        |site| fail(&site.disk),
        |site| site.disk.heal().unwrap(),
    );
    assert!(site.disk.failures().unwrap() > 0, "nothing failed");
}

/// Clients work while the disk fails; what they were told holds, during, after, and after a crash.
#[track_caller]
fn nothing_is_told_that_is_not_so(
    mut site: Site,
    fail: impl Fn(&Site),
    heal: impl Fn(&Site),
) -> Site {
    let client = site.client();
    let mut told: Vec<_> = (0..4).map(|_| Told::new(&client)).collect();
    for told in &mut told {
        (0..4).for_each(|_| told.sign(&client));
    }
    work(&site, &mut told, |_| (), Duration::from_millis(500));
    assert!(told.iter().all(|told| !told.live.is_empty()));
    let before: u64 = told.iter().map(|told| told.refused).sum();

    fail(&site);
    let unready = AtomicBool::new(false);
    let watch = |_: &Site| {
        let client = site.client();
        let begun = Instant::now();
        // Room for a few writes more is no failure yet.
        while begun.elapsed() < TROUBLE && client.is_ready() {
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(Duration::from_millis(200));
        unready.store(!client.is_ready(), Ordering::SeqCst);
    };
    work(&site, &mut told, watch, TROUBLE);
    let refused = told.iter().map(|told| told.refused).sum::<u64>() - before;
    assert!(refused > 0, "everything was taken");
    assert!(unready.into_inner(), "it said that it was ready");
    let said = site.said();
    let errors = said.lines().filter(|line| line.contains("ERROR")).count();
    assert!((1..=6).contains(&errors), "{errors} of {refused}: {said}");

    heal(&site);
    within(2, "ready again", || client.is_ready());
    for told in &mut told {
        let refused = told.refused;
        told.check(&client);
        told.work(&client, 0);
        assert_eq!(told.refused, refused, "it is well, and refuses");
    }
    site.kill();
    site.restart();
    let client = site.client();
    for told in &mut told {
        told.check(&client);
    }
    site.lose_power(Loss::All);
    let client = site.client();
    for told in &mut told {
        told.check(&client);
    }
    site
}

/// Each client on a thread of its own, for a while; `beside` runs beside them.
fn work(site: &Site, told: &mut [Told], beside: impl FnOnce(&Site) + Send, time: Duration) {
    thread::scope(|scope| {
        for told in told {
            scope.spawn(move || {
                let client = site.client();
                let begun = Instant::now();
                for round in 0.. {
                    if begun.elapsed() >= time {
                        break;
                    }
                    told.work(&client, round);
                }
            });
        }
        beside(site);
    });
}

#[test]
fn a_full_disk() {
    a_disk_that_fails(|disk| disk.fill(ALL, 20_000).unwrap());
}

/// The last commit before it is full is torn in its middle.
#[test]
fn a_disk_that_is_full_within_a_commit() {
    a_disk_that_fails(|disk| disk.fill(WAL, 6_001).unwrap());
}

#[test]
fn input_output_errors_of_writes() {
    a_disk_that_fails(|disk| disk.fail_writes(WAL, 50_000).unwrap());
}

#[test]
fn input_output_errors_of_syncs() {
    a_disk_that_fails(|disk| disk.fail_syncs(ALL, 3).unwrap());
}

#[test]
fn input_output_errors_of_everything() {
    a_disk_that_fails(|disk| disk.fail_writes(ALL, 0).unwrap());
}

/// Everything is in the log, which is only longer than it would be.
#[test]
fn a_log_that_cannot_be_folded_into_the_store() {
    let mut site = Site::start();
    let client = site.client();
    let mut told = [Told::new(&client)];
    site.disk.fail_writes(MAIN, 0).unwrap();
    let begun = Instant::now();
    // Large rows, until there are 32 MiB of log.
    while site.disk.failures().unwrap() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(120));
        told[0].sign_much(&client);
    }
    told[0].work(&client, 0);
    assert_eq!(told[0].refused, 0);
    assert!(client.is_ready());
    told[0].check(&client);
    site.kill();
    site.disk.lose_power(Loss::All).unwrap();
    // A start wants it folded: whether the disk has all of a log that is found is not known.
    let ended = site.command().arg("serve").output().unwrap();
    assert!(!ended.status.success());
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("disk I/O error"), "{said}");
    site.disk.heal().unwrap();
    site.restart();
    told[0].check(&site.client());
    site.lose_power(Loss::All);
    told[0].check(&site.client());
}

/// What was told is there when the power is back, whatever of the rest is.
#[test]
fn a_loss_of_power() {
    let mut site = Site::start();
    let client = site.client();
    let mut told: Vec<_> = (0..4).map(|_| Told::new(&client)).collect();
    // More than the rounds to come can take from a client: it has no answer once a round, and logs out now and then.
    for told in &mut told {
        (0..12).for_each(|_| told.sign(&client));
    }
    // So that the power fails between a write and its sync.
    site.disk.slow_down(15).unwrap();
    let mut lost = 0;
    for round in 0.. {
        if round >= 6 && lost > 0 {
            break;
        }
        // A loss that loses nothing is none. On a busy machine one may come just after a sync; not each of thirty.
        assert!(round < 30);
        let loss = if round % 2 == 0 {
            Loss::All
        } else {
            Loss::Some(round)
        };
        let killed = AtomicBool::new(false);
        let clients: Vec<_> = told.iter().map(|_| site.client()).collect();
        thread::scope(|scope| {
            for (told, client) in told.iter_mut().zip(clients) {
                let killed = &killed;
                scope.spawn(move || {
                    for round in 0.. {
                        if killed.load(Ordering::SeqCst) {
                            break;
                        }
                        told.work(&client, round);
                    }
                });
            }
            thread::sleep(Duration::from_millis(400 + 50 * (round % 6)));
            site.kill();
            killed.store(true, Ordering::SeqCst);
        });
        lost += site.lose_power(loss);
        assert!(told.iter().all(|told| !told.live.is_empty()));
        let client = site.client();
        for told in &mut told {
            told.check(&client);
            // For the next round.
            told.sign(&client);
        }
    }
}

/// A real one, too, for which the test runs itself again where it may mount one: nobody else sees that.
#[test]
fn a_full_file_system() {
    const MAY_MOUNT: &str = "RENEWD_TEST_MAY_MOUNT";
    if env::var_os(MAY_MOUNT).is_some() {
        return fill_a_file_system();
    }
    // As root, or as root of a namespace that anybody makes.
    for with in [&["--mount"][..], &["--mount", "--map-root-user"]] {
        let unshare = || {
            let mut unshare = Command::new("unshare");
            unshare.args(with).stdin(Stdio::null());
            unshare
        };
        if unshare().arg("true").status().unwrap().success() {
            let again = unshare()
                .arg(env::current_exe().unwrap())
                .args(["--exact", "once::disk::a_full_file_system", "--nocapture"])
                .env(MAY_MOUNT, "yes")
                .status()
                .unwrap();
            assert!(again.success(), "see above");
            return;
        }
    }
    // Past what the test harness keeps to itself.
    let said = b"a_full_file_system: no file system can be mounted here, so its disk only seems to be full\n";
    io::stderr().write_all(said).unwrap();
    a_disk_that_fails(|disk| disk.fill(ALL, 20_000).unwrap());
}

fn fill_a_file_system() {
    let site = Site::start_mounted(16 << 20);
    let filler = site.data().join("filler");
    let fill = |_: &Site| {
        let mut file = File::create(&filler).unwrap();
        let error = loop {
            if let Err(error) = file.write_all(&[7; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    };
    let free = |_: &Site| fs::remove_file(&filler).unwrap();
    nothing_is_told_that_is_not_so(site, fill, free);
}

/// Linux forgets what a failed sync was to write, and goes on showing it to whoever reads. What is added to such a log is
/// lost with the power, though it was synced.
#[test]
fn a_start_after_a_sync_that_failed() {
    let mut site = Site::start();
    let client = site.client();
    let mut told = Told::new(&client);
    (0..4).for_each(|_| told.sign(&client));
    site.disk.fail_syncs(WAL, 0).unwrap();
    told.sign(&client);
    assert_eq!(told.refused, 1);
    // Before anything is written over what was forgotten.
    site.kill();
    site.disk.heal().unwrap();
    site.restart();
    let client = site.client();
    (0..4).for_each(|round| told.work(&client, round));
    assert_eq!(told.refused, 1);
    assert!(told.live.len() > 4);
    site.lose_power(Loss::All);
    told.check(&site.client());
}

/// Made in part, it would be in the way of everything else.
#[test]
fn an_app_that_is_made_while_the_disk_is_full() {
    let mut site = Site::start();
    let client = site.client();
    let mut told = Told::new(&client);
    told.sign(&client);
    site.disk.fill(ALL, 0).unwrap();
    for _ in 0..3 {
        assert_eq!(told.try_to_make_an_app(&client), 503);
    }
    assert!(!client.is_ready());
    site.disk.heal().unwrap();
    within(2, "ready again", || client.is_ready());
    assert_eq!(told.try_to_make_an_app(&client), 200);
    told.check(&client);
    site.kill();
    site.restart();
    told.check(&site.client());
}

/// What a first start has made until there was no more room is no obstacle to the next one.
#[test]
fn a_first_start_on_a_full_disk() {
    thread::scope(|scope| {
        for room in [0, 20, 6_000, 40_000, 90_000, 150_000] {
            scope.spawn(move || {
                let mut site = Site::not_started();
                site.disk.fill(ALL, room).unwrap();
                let ended = site.command().arg("migrate").output().unwrap();
                assert!(!ended.status.success(), "room for {room} was enough");
                assert!(site.disk.failures().unwrap() > 0);
                site.disk.heal().unwrap();
                site.restart();
                let client = site.client();
                let mut told = Told::new(&client);
                told.work(&client, 0);
                told.check(&client);
            });
        }
    });
}
