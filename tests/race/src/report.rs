//! What a run amounts to.

use crate::{
    check::{Kind, Story, Violation},
    history::{Answer, History, Micros, Refusal, Role, Trouble},
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

/// The table.
pub fn figures(history: &History, cuts: Cuts) -> Vec<(String, String)> {
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
    let logouts = history.logouts.iter().filter(|one| one.acknowledged);
    let revocations = history.revocations.iter().filter(|one| one.acknowledged);

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
    row("nodes killed", troubles(Trouble::NodeKilled).to_string());
    row(
        "nodes restarted in an orderly way",
        troubles(Trouble::NodeRestarted).to_string(),
    );
    row(
        "databases killed",
        troubles(Trouble::DatabaseKilled).to_string(),
    );
    row(
        "databases restarted in an orderly way",
        troubles(Trouble::DatabaseRestarted).to_string(),
    );
    row(
        "databases held back in their cluster",
        troubles(Trouble::DatabaseLags).to_string(),
    );
    row("connections cut", cuts.closed.to_string());
    row("answers to a commit lost", cuts.commits.to_string());
    row("answers to other statements lost", cuts.answers.to_string());
    row("connections refused", cuts.refused.to_string());
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
    row("logouts acknowledged", logouts.count().to_string());
    row(
        "key revocations acknowledged",
        revocations.count().to_string(),
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
    let kinds = [
        Kind::DoubleWin,
        Kind::LostSession,
        Kind::FalseReuse,
        Kind::RenewedAfterLogout,
        Kind::RenewedAfterReuse,
        Kind::RenewedAfterKeyRevocation,
        Kind::RenewedTooLate,
        Kind::UndocumentedStatus,
        Kind::UnansweredInQuiet,
        Kind::Complaint,
    ];
    let count = |kind| violations.iter().filter(|one| one.kind == kind).count();
    let row = |kind: Kind| (kind.to_string(), count(kind).to_string());
    kinds.into_iter().map(row).collect()
}

fn lost(stories: &[Story<'_>], with_grace: bool) -> Lost {
    let mut lost = Lost::default();
    let walkers = stories.iter().filter(|story| {
        story.session.role == Role::Walker && (story.session.grace > 0) == with_grace
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
