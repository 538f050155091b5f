//! Histories that are as they should be, and histories that are not.

mod around;
mod sensors;
mod told;

use super::*;
use crate::history::{Jump, Refusal, Role};

use told::{REVOKED, Told, USED, issued, lenient, span, strict, won};

#[test]
fn a_walk_is_good() {
    strict()
        .renew("A", 10, 20, won("B"))
        .renew("B", 20, 30, won("C"))
        .is(&[]);
}

#[test]
fn two_successors_of_one_token_are_a_double_win() {
    let told = |told: Told| {
        told.renew("A", 10, 20, won("B"))
            .renew("A", 10, 21, won("C"))
    };
    told(strict()).is(&[Kind::DoubleWin]);
    told(lenient()).is(&[Kind::DoubleWin]);
}

#[test]
fn a_repeated_successor_is_good_within_the_grace_only() {
    let told = |told: Told, begin| {
        told.renew("A", 10, 20, won("B"))
            .renew("A", begin, begin + 10, won("B"))
    };
    told(lenient(), 5_000).is(&[]);
    told(lenient(), 10_010).is(&[]);
    told(lenient(), 10_030).is(&[Kind::RenewedTooLate]);
    told(strict(), 15).is(&[Kind::DoubleWin]);
}

#[test]
fn a_race_without_a_grace_ends_the_session() {
    let race = || {
        strict()
            .renew("A", 10, 30, USED)
            .renew("A", 10, 31, won("B"))
            .renew("A", 11, 32, USED)
    };
    race().renew("B", 40, 50, REVOKED).is(&[]);
    race()
        .renew("B", 40, 50, won("C"))
        .is(&[Kind::RenewedAfterReuse]);
    // Begun before any reuse was answered: another order explains it.
    race().renew("B", 25, 50, won("C")).is(&[]);
}

#[test]
fn a_race_that_nobody_wins_is_a_false_reuse() {
    strict()
        .renew("A", 10, 30, USED)
        .renew("A", 10, 30, USED)
        .is(&[Kind::FalseReuse; 2]);
}

/// What was seen on PostgreSQL: the winner's commit was carried out and its answer lost, a reuse ended the session, and
/// the winner learned of both at once.
#[test]
fn a_winner_may_learn_that_its_session_is_ended_already() {
    strict()
        .renew("A", 10, 20, USED)
        .renew("A", 10, 90, REVOKED)
        .renew("A", 11, 25, USED)
        .is(&[]);
    // It had not begun when the reuse was answered.
    strict()
        .renew("A", 10, 20, USED)
        .renew("A", 21, 30, REVOKED)
        .is(&[Kind::FalseReuse, Kind::LostSession]);
}

#[test]
fn a_reuse_of_a_token_that_was_never_presented_is_false() {
    strict()
        .renew("A", 10, 20, won("B"))
        .renew("B", 21, 30, USED)
        .is(&[Kind::FalseReuse]);
    // A presentation that was never sent changes nothing.
    strict()
        .renew("A", 10, 20, Answer::Unsent)
        .renew("A", 21, 30, USED)
        .is(&[Kind::FalseReuse]);
}

#[test]
fn a_session_that_is_refused_for_no_reason_is_lost() {
    for refusal in [Refusal::Revoked, Refusal::Invalid, Refusal::Expired] {
        strict()
            .renew("A", 10, 20, won("B"))
            .renew("B", 21, 30, Answer::Refused(refusal))
            .is(&[Kind::LostSession]);
    }
    strict()
        .logout(10, 20, true)
        .renew("A", 21, 30, Answer::Refused(Refusal::Invalid))
        .is(&[Kind::LostSession]);
}

/// By a clock that is far behind: the job of another node may have purged it at once.
#[test]
fn a_session_that_was_over_before_the_run_may_have_been_purged() {
    for (days_ago, expected) in [(2, vec![]), (0, vec![Kind::LostSession])] {
        let mut told = strict();
        told.0.sessions[0].first.iat -= days_ago * 86_400;
        told.0.jumps.push(Jump {
            node: 0,
            span: span(0, 1),
        });
        told.renew("A", 10, 20, Answer::Refused(Refusal::Revoked))
            .is(&expected);
    }
}

#[test]
fn without_a_grace_the_retry_of_a_lost_answer_may_end_the_session() {
    for lost in [Answer::Unknown, Answer::Unavailable] {
        strict()
            .renew("A", 10, 20, lost)
            .renew("A", 30, 40, USED)
            .is(&[]);
        strict()
            .renew("A", 10, 20, lost)
            .renew("A", 30, 40, won("B"))
            .renew("B", 41, 50, won("C"))
            .is(&[]);
    }
}

#[test]
fn a_request_without_an_answer_may_be_carried_out_later_and_one_with_an_answer_may_not() {
    let told = |lost, at| {
        strict()
            .renew("A", 10, 20, lost)
            .renew("A", 30, 40, won("B"))
            .renew("B", at, at + 10, REVOKED)
    };
    told(Answer::Unknown, 500).is(&[]);
    told(Answer::Unavailable, 500).is(&[Kind::LostSession]);
    // It was not begun before the horizon of the lost one.
    strict()
        .renew("A", 10, 20, Answer::Unknown)
        .renew("A", 6_000, 6_010, won("B"))
        .renew("B", 6_020, 6_030, REVOKED)
        .is(&[Kind::LostSession]);
}

#[test]
fn within_the_grace_a_lost_answer_is_recovered() {
    for lost in [Answer::Unknown, Answer::Unavailable] {
        let told = || lenient().renew("A", 10, 20, lost);
        told().renew("A", 9_000, 9_500, won("B")).is(&[]);
        told()
            .renew("A", 9_000, 9_500, USED)
            .is(&[Kind::FalseReuse]);
        told()
            .renew("A", 9_000, 9_500, REVOKED)
            .is(&[Kind::LostSession]);
        // Not in time, or maybe not.
        told().renew("A", 9_000, 10_500, USED).is(&[]);
        told().renew("A", 10_500, 10_510, USED).is(&[]);
    }
}

#[test]
fn a_late_attempt_after_the_use_of_the_successor_may_end_the_session() {
    let told = |lost| {
        lenient()
            .renew("A", 10, 20, lost)
            .renew("A", 30, 40, won("B"))
            .renew("B", 50, 60, won("C"))
            .renew("C", 70, 80, REVOKED)
    };
    told(Answer::Unknown).is(&[]);
    told(Answer::Unavailable).is(&[Kind::LostSession]);
}

#[test]
fn a_token_whose_successor_was_used_renews_no_more() {
    lenient()
        .renew("A", 10, 20, won("B"))
        .renew("B", 30, 40, won("C"))
        .renew("A", 50, 60, won("B"))
        .is(&[Kind::RenewedTooLate]);
}

#[test]
fn nothing_renews_after_a_logout() {
    let told = |begin, acknowledged, answer| {
        Told::of(Role::Leaver, 0)
            .logout(10, 20, acknowledged)
            .renew("A", begin, 30, answer)
    };
    told(21, true, REVOKED).is(&[]);
    told(21, true, won("B")).is(&[Kind::RenewedAfterLogout]);
    // One of them came first.
    told(15, true, won("B")).is(&[]);
    told(5, true, REVOKED).is(&[]);
    // Nobody was told that it is done; but it may be.
    told(21, false, won("B")).is(&[]);
    told(21, false, REVOKED).is(&[]);
    // Refused before anybody asked for it.
    Told::of(Role::Leaver, 0)
        .renew("A", 2, 5, REVOKED)
        .logout(10, 20, true)
        .is(&[Kind::LostSession]);
}

#[test]
fn nothing_of_a_revoked_key_renews() {
    let told = |key, begin, acknowledged, answer| {
        Told::of(Role::Keyed, 0)
            .revoke(key, 10, 20, acknowledged)
            .renew("A", begin, 30, answer)
    };
    told("K1", 21, true, REVOKED).is(&[]);
    told("K1", 21, true, won("B")).is(&[Kind::RenewedAfterKeyRevocation]);
    told("K1", 15, true, won("B")).is(&[]);
    told("K1", 21, false, won("B")).is(&[]);
    told("K2", 21, true, won("B")).is(&[]);
    told("K2", 21, true, REVOKED).is(&[Kind::LostSession]);
    // A successor has its own key.
    Told::of(Role::Keyed, 0)
        .renew("A", 5, 15, Answer::Won(issued("B", "K2")))
        .revoke("K1", 10, 20, true)
        .renew("B", 21, 30, won("C"))
        .is(&[]);
}

#[test]
fn other_statuses_and_silence_without_a_cause_are_told() {
    strict()
        .renew("A", 10, 20, Answer::Undocumented(500))
        .is(&[Kind::UndocumentedStatus]);
    for answer in [Answer::Unavailable, Answer::Unknown, Answer::Unsent] {
        let mut told = strict()
            .renew("A", 10, 20, answer)
            .renew("A", 60, 70, answer);
        told.is(&[]);
        told.0.quiet_from = Some(50_000);
        told.is(&[Kind::UnansweredInQuiet]);
    }
}
