//! What a run amounts to.

use crate::{
    check::{ENOUGH, Judged, Kind, Story, Violation},
    history::{Answer, Cause, History, Micros, Outcome, Refusal, Role, SensorAnswer, Trouble},
    proxy::Cuts,
};

/// What became of the tokens of walkers whose answer was lost, or was a 503.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    renewed: u64,
    /// The retry was a reuse: the first presentation had been carried out.
    used: u64,
    /// The session had been ended by another presentation of theirs, which came late.
    revoked: u64,
    given_up: u64,
}

const TROUBLES: &[(&str, Trouble)] = &[
    ("nodes killed", Trouble::NodeKilled),
    ("nodes restarted in an orderly way", Trouble::NodeRestarted),
    ("databases killed", Trouble::DatabaseKilled),
    (
        "databases restarted in an orderly way",
        Trouble::DatabaseRestarted,
    ),
    ("databases frozen", Trouble::DatabaseFrozen),
    (
        "databases held back in their cluster",
        Trouble::DatabaseLags,
    ),
    (
        "databases cut off from their cluster",
        Trouble::DatabaseCutOff,
    ),
    ("primaries killed", Trouble::PrimaryKilled),
    ("primaries frozen", Trouble::PrimaryFrozen),
    ("primaries cut off from the others", Trouble::PrimaryCutOff),
    ("nodes parted from the database", Trouble::Silence),
    (
        "… in the direction of questions",
        Trouble::QuestionsHeldBack,
    ),
    ("… in the direction of answers", Trouble::AnswersHeldBack),
    ("nodes delayed by up to seconds", Trouble::Delay),
    ("clocks set days off, and back", Trouble::ClockBack),
    ("disks that were full", Trouble::DiskFull),
    ("disks that failed", Trouble::DiskFails),
    ("losses of power", Trouble::PowerLost),
];

/// The table.
pub fn figures(history: &History, cuts: Cuts, judged: Judged) -> Vec<(String, String)> {
    let stories = Story::all(history);
    let count = |test: &dyn Fn(Role, Answer) -> bool| {
        let told = history.presentations.iter();
        let role = |session: usize| history.sessions[session].role;
        told.filter(|one| test(role(one.session), one.answer))
            .count()
    };
    let won = count(&|_, answer| matches!(answer, Answer::Won(_)));
    let last = history.presentations.last().map_or(0, |one| one.span.end);
    let load_ended = history.quiet_from.unwrap_or(last).max(1);
    let seconds = load_ended as f64 / 1e6;
    let troubles = |kind| {
        let troubles = history.troubles.iter();
        troubles.filter(|(_, other, _)| *other == kind).count()
    };
    let quiet = |session: &usize| {
        let from = history.quiet_from.unwrap_or(Micros::MAX);
        let told = stories[*session].told.last();
        told.is_some_and(|one| one.span.begin > from && matches!(one.answer, Answer::Won(_)))
    };
    let (lenient, strict) = (lost(&stories, true), lost(&stories, false));
    let endings = |cause| {
        let endings = history.endings.iter();
        endings
            .filter(|one| one.cause == cause && one.is_done() && one.is_sure)
            .count()
            .to_string()
    };
    let revocations = history
        .revocations
        .iter()
        .filter(|one| one.outcome.is_done());
    let changes = history
        .changes
        .iter()
        .filter(|one| one.outcome == Outcome::Done);
    let refreshed = history.refreshings.iter().filter(|one| {
        matches!(
            one.answer,
            SensorAnswer::Advanced(_) | SensorAnswer::Replaced(_)
        )
    });

    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row(
        "renewals acknowledged",
        format!("{won}, {:.0} a second", won as f64 / seconds),
    );
    row(
        "longest time without any",
        format!("{:.1} s", longest_pause(history) as f64 / 1e6),
    );
    row("presentations", history.presentations.len().to_string());
    row("sessions", history.sessions.len().to_string());
    for (name, kind) in TROUBLES {
        row(name, troubles(*kind).to_string());
    }
    row("connections cut", cuts.closed.to_string());
    row("answers to a commit lost", cuts.commits.to_string());
    row("answers to other statements lost", cuts.answers.to_string());
    row("connections refused", cuts.refused.to_string());
    row("messages held back or delayed", cuts.held.to_string());
    row(
        "presentations without an answer",
        count(&|_, answer| answer == Answer::Unknown).to_string(),
    );
    row(
        "presentations without a connection",
        count(&|_, answer| answer == Answer::Unsent).to_string(),
    );
    row(
        "presentations answered with 503",
        count(&|_, answer| answer == Answer::Unavailable).to_string(),
    );
    row("longest time to a 503", longest_refusal(history));
    row(
        "refused by the date of a clock days off",
        refused_by_a_jump(&stories).to_string(),
    );
    row(
        "other requests without an answer, or 503",
        history.other_unanswered.to_string(),
    );
    row(
        "walkers' lost answers, grace",
        format!(
            "{} recovered, {} not in time ({} refused, {} given up), {} ended by a late attempt of their own",
            lenient.renewed,
            lenient.used + lenient.given_up,
            lenient.used,
            lenient.given_up,
            lenient.revoked
        ),
    );
    row(
        "walkers' lost answers, no grace",
        format!(
            "{} renewed, {} ended by their own retry, {} by a late one, {} given up",
            strict.renewed, strict.used, strict.revoked, strict.given_up
        ),
    );
    let used = Answer::Refused(Refusal::Used);
    row(
        "reuses of racers refused",
        count(&|role, answer| role == Role::Racer && answer == used).to_string(),
    );
    row("logouts acknowledged", endings(Cause::Logout));
    row("flushes of an app acknowledged", endings(Cause::Flush));
    row("policy changes acknowledged", changes.count().to_string());
    row(
        "signing keys' revocations acknowledged",
        revocations.count().to_string(),
    );
    row(
        "app-keys' revocations acknowledged",
        history
            .keys
            .iter()
            .filter(|key| key.revoked.is_some())
            .count()
            .to_string(),
    );
    row("sessions ended with their device", endings(Cause::Device));
    row(
        "crowds of one subject counted",
        history.crowds.len().to_string(),
    );
    row(
        "lists of push targets compared",
        history.targets.len().to_string(),
    );
    row(
        "registration tokens refreshed",
        refreshed.count().to_string(),
    );
    row(
        "registration tokens exchanged",
        history
            .exchanges
            .iter()
            .filter(|one| one.began.is_ok())
            .count()
            .to_string(),
    );
    row(
        "claims of sessions amended",
        history.amendments.len().to_string(),
    );
    row(
        "looks at how far a session has come",
        history.reads.len().to_string(),
    );
    row(
        "pairs whose signatures were verified",
        history.signatures.len().to_string(),
    );
    row(
        "presentations judged",
        format!(
            "{} of {}, {:.2} % (at least {:.0} %); not {} lost, {} won, {} refused",
            judged.judged,
            judged.all,
            judged.share() * 100.0,
            ENOUGH * 100.0,
            judged.lost,
            judged.won,
            judged.refused
        ),
    );
    row(
        "sessions held to the end and renewed",
        format!(
            "{} of {}",
            history.held.iter().filter(|held| quiet(held)).count(),
            history.held.len()
        ),
    );
    rows
}

/// How long a client had to wait to be told to come again.
fn longest_refusal(history: &History) -> String {
    let told = history.presentations.iter();
    let told = told.filter(|one| one.answer == Answer::Unavailable);
    let longest = told.map(|one| one.span.end - one.span.begin).max();
    format!("{:.1} s", longest.unwrap_or_default() as f64 / 1e6)
}

fn refused_by_a_jump(stories: &[Story<'_>]) -> usize {
    let by_a_jump = |story: &Story<'_>| {
        let refused = story.told.iter().filter(|one| match one.answer {
            Answer::Refused(refusal) => story.is_by_a_jump(one, refusal),
            _ => false,
        });
        refused.count()
    };
    stories.iter().map(by_a_jump).sum()
}

/// Between two renewals, anybody's.
fn longest_pause(history: &History) -> Micros {
    let won = history.presentations.iter().filter_map(|one| {
        let won = matches!(one.answer, Answer::Won(_));
        won.then_some(one.span.end)
    });
    let mut ends: Vec<_> = won.collect();
    ends.sort_unstable();
    let pauses = ends.windows(2).map(|pair| pair[1] - pair[0]);
    pauses.max().unwrap_or_default()
}

/// How many violations there are of each kind.
pub fn verdicts(violations: &[Violation]) -> Vec<(String, String)> {
    let count = |kind| violations.iter().filter(|one| one.kind == kind).count();
    let row = |kind: Kind| (kind.to_string(), count(kind).to_string());
    Kind::ALL.into_iter().map(row).collect()
}

fn lost(stories: &[Story<'_>], with_grace: bool) -> Lost {
    let mut lost = Lost::default();
    let walkers = stories.iter().filter(|story| {
        story.session.role == Role::Walker && story.session.grace.is_none() != with_grace
    });
    for presented in walkers.flat_map(|story| story.by_token.values()) {
        let is = |test: &dyn Fn(Answer) -> bool| presented.iter().any(|one| test(one.answer));
        if !is(&Answer::is_lost) {
            continue;
        }
        let end = if is(&|answer| matches!(answer, Answer::Won(_))) {
            &mut lost.renewed
        } else if is(&|answer| answer == Answer::Refused(Refusal::Used)) {
            &mut lost.used
        } else if is(&|answer| matches!(answer, Answer::Refused(_))) {
            &mut lost.revoked
        } else {
            &mut lost.given_up
        };
        *end += 1;
    }
    lost
}
