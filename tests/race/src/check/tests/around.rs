//! What happens beside the renewals, and what could be judged.

use super::super::*;
use super::told::{START, Told, USED, id, issued, lenient, span, strict, won};
use crate::history::{
    Cause, Change, Claims, Crowd, Ended, Issued, KeyUse, Outcome, Signature, Targets, Tenant,
};

fn one(change: impl FnOnce(&mut Issued)) -> Told {
    let mut next = issued("B", "K1");
    change(&mut next);
    strict().renew("A", 10, 20, Answer::Won(next))
}

#[test]
fn each_answer_belongs_to_its_session() {
    one(|_| {}).is(&[]);
    one(|next| next.agrees = false).is(&[Kind::TokensDisagree]);
    one(|next| next.sid = id("OTHER")).is(&[Kind::WrongSession]);
    one(|next| next.iat = START + 62).is(&[Kind::WrongTime]);
    one(|next| next.iat = START - 62).is(&[Kind::WrongTime]);
    one(|next| next.life = 60).is(&[Kind::StalePolicy]);
    let other = |claims: Claims| {
        one(|next| next.claims = 1).with(|history| {
            history.claim(claims);
        })
    };
    let user = || "user".to_owned();
    other(Claims {
        sub: "admin".to_owned(),
        ..Claims::default()
    })
    .is(&[Kind::SubjectChanged]);
    other(Claims {
        sub: user(),
        note: "another's".to_owned(),
        ..Claims::default()
    })
    .is(&[Kind::WrongClaims]);
    // The same by value.
    other(Claims {
        sub: user(),
        ..Claims::default()
    })
    .is(&[]);
}

#[test]
fn a_token_is_not_issued_before_the_one_that_it_follows() {
    let told = |iat| {
        let mut told =
            strict()
                .renew("A", 2_000, 2_010, won("B"))
                .renew("B", 2_020, 4_000, won("C"));
        for presentation in &mut told.0.presentations {
            if let Answer::Won(next) = &mut presentation.answer {
                next.iat = if next.jid == id("B") { START + 2 } else { iat };
            }
        }
        told
    };
    told(START + 2).is(&[]);
    told(START + 1).is(&[Kind::WrongTime]);
}

#[test]
fn the_next_renewal_has_the_amended_claims() {
    let told = |outcome, claims, begin| {
        let mut next = issued("B", "K1");
        next.claims = claims;
        strict()
            .amend("new", 10, 20, outcome)
            .renew("A", begin, 50, Answer::Won(next))
    };
    told(Outcome::Done, 1, 30).is(&[]);
    told(Outcome::Done, 0, 30).is(&[Kind::WrongClaims]);
    told(Outcome::Done, 0, 15).is(&[]);
    told(Outcome::Unknown, 0, 30).is(&[]);
    told(Outcome::Unknown, 1, 30).is(&[]);
    told(Outcome::Refused, 1, 30).is(&[Kind::WrongClaims]);
}

#[test]
fn a_policy_is_that_of_the_last_change() {
    let told = |life, begin| {
        let change = |life, begin, end| Change {
            app: 0,
            life,
            span: span(begin, end),
            outcome: Outcome::Done,
        };
        let mut next = issued("B", "K1");
        next.life = life;
        strict()
            .renew("A", begin, 90, Answer::Won(next))
            .with(|history| history.changes = vec![change(600, 10, 20), change(700, 30, 40)])
    };
    told(700, 50).is(&[]);
    told(600, 50).is(&[Kind::StalePolicy]);
    told(3_600, 50).is(&[Kind::StalePolicy]);
    told(600, 35).is(&[]);
    told(3_600, 15).is(&[]);
}

#[test]
fn a_signing_key_is_one_of_its_app_and_signs_what_names_it() {
    let told = |app| {
        strict()
            .renew("A", 10, 20, won("B"))
            .with(|history| history.signing_keys = [(id("K1"), app)].into())
    };
    told(0).is(&[]);
    told(1).is(&[Kind::WrongKey, Kind::WrongKey]);
    strict()
        .with(|history| {
            history.signatures.push(Signature {
                session: 0,
                key: id("K1"),
                at: 5,
                is_good: false,
            });
        })
        .is(&[Kind::WrongSignature]);
}

#[test]
fn a_look_at_the_session_shows_what_nobody_was_told() {
    let told = || strict().renew("A", 10, 20, won("B"));
    told().read(30, 40, Some(("B", 1))).is(&[]);
    told().read(30, 40, Some(("B", 2))).is(&[Kind::WrongCount]);
    told().read(30, 40, Some(("A", 0))).is(&[Kind::WrongCount]);
    told().read(30, 40, Some(("C", 1))).is(&[Kind::LostSession]);
    told().read(30, 40, None).is(&[Kind::LostSession]);
    told().logout(22, 25, true).read(30, 40, None).is(&[]);
    // A lost one may have advanced it, once.
    let lost = || told().renew("B", 21, 25, Answer::Unknown);
    lost().read(30, 40, Some(("B", 1))).is(&[]);
    lost().read(30, 40, Some(("C", 2))).is(&[]);
    lost().read(30, 40, Some(("D", 3))).is(&[Kind::WrongCount]);
    // Two successors of one token, of which the client was told of one.
    lost()
        .renew("B", 30, 40, won("D"))
        .read(50, 60, Some(("D", 3)))
        .is(&[Kind::WrongCount]);
}

#[test]
fn nothing_renews_after_a_flush_but_what_began_after_it() {
    let told = |begin, signed: u64, outcome| {
        strict()
            .end(Ended::App(0), Cause::Flush, 10, 20, outcome)
            .renew("A", begin, begin + 10, won("B"))
            .with(|history| history.sessions[0].span = span(signed, signed + 1))
    };
    told(30, 0, Outcome::Done).is(&[Kind::RenewedAfterFlush]);
    told(15, 0, Outcome::Done).is(&[]);
    told(30, 15, Outcome::Done).is(&[]);
    told(40, 30, Outcome::Done).is(&[]);
    told(30, 0, Outcome::Unavailable).is(&[]);
    let refused = |signed| {
        let mut told = told(50, signed, Outcome::Done);
        told.0.presentations[0].answer = super::REVOKED;
        told
    };
    refused(0).is(&[]);
    refused(30).is(&[Kind::LostSession]);
}

#[test]
fn nothing_renews_after_the_end_of_its_device() {
    let told = |is_sure| {
        strict()
            .end(Ended::Session(0), Cause::Device, 10, 20, Outcome::Done)
            .renew("A", 30, 40, won("B"))
            .with(|history| history.endings[0].is_sure = is_sure)
    };
    told(true).is(&[Kind::RenewedAfterDevice]);
    told(false).is(&[]);
}

#[test]
fn an_app_key_is_good_until_it_is_revoked() {
    let told = |begin, answer: Answer| {
        strict()
            .renew("A", begin, begin + 10, answer)
            .with(|history| {
                history.keys[0].revoking = Some(10_000_000);
                history.keys[0].revoked = Some(10_020_000);
            })
    };
    told(9_000, won("B")).is(&[]);
    told(10_015, won("B")).is(&[]);
    told(10_030, won("B")).is(&[Kind::RevokedKeyAccepted]);
    told(10_030, Answer::Forbidden).is(&[]);
    told(9_000, Answer::Forbidden).is(&[Kind::GoodKeyRefused]);
    // Made a moment ago, it is not known everywhere.
    told(500, Answer::Forbidden).is(&[]);
    let signed = |begin, is_refused| {
        told(9_000, won("B")).with(|history| {
            history.key_uses.push(KeyUse {
                key: 0,
                verb: "sign",
                span: span(begin, begin + 10),
                is_refused,
            });
        })
    };
    signed(10_030, false).is(&[Kind::RevokedKeyAccepted]);
    signed(9_000, true).is(&[Kind::GoodKeyRefused]);
    signed(9_000, false).is(&[]);
}

#[test]
fn a_subject_has_no_more_and_no_fewer_sessions_than_it_may() {
    let told = |live| {
        strict().with(|history| {
            history.crowds.push(Crowd {
                span: span(1, 5),
                live,
                least: 3,
                most: 4,
            });
        })
    };
    told(3).is(&[]);
    told(4).is(&[]);
    told(2).is(&[Kind::SessionLimit]);
    told(5).is(&[Kind::SessionLimit]);
}

#[test]
fn a_push_token_is_of_one_device_and_stays_there() {
    let targets = |expected: Option<&str>, seen: &[(&str, &str)]| Targets {
        at: 5,
        app: 0,
        sub: "user".to_owned(),
        expected: expected.map(str::to_owned),
        seen: seen
            .iter()
            .map(|(device, token)| ((*device).to_owned(), (*token).to_owned()))
            .collect(),
    };
    let told = |all: Vec<Targets>| strict().with(|history| history.targets = all);
    told(vec![
        targets(Some("P"), &[("D", "P")]),
        targets(None, &[("E", "Q")]),
    ])
    .is(&[]);
    told(vec![targets(Some("P"), &[])]).is(&[Kind::PushTokenLost]);
    told(vec![
        targets(None, &[("D", "P")]),
        targets(None, &[("E", "P")]),
    ])
    .is(&[Kind::PushTokenTwice]);
}

#[test]
fn what_one_app_is_changed_by_is_not_felt_by_another() {
    let told = |is_changed| {
        strict()
            .renew("A", 60, 70, Answer::Unavailable)
            .with(|history| {
                history.calm_from = Some(50_000);
                history.tenants[0] = Tenant {
                    is_changed,
                    ..Tenant::default()
                };
            })
    };
    told(false).is(&[Kind::Disturbed]);
    told(true).is(&[]);
}

#[test]
fn a_stall_keeps_a_request_possible_until_after_its_end() {
    let told = || {
        strict()
            .renew("A", 10, 20, Answer::Unknown)
            .renew("A", 12_000, 12_010, won("B"))
            .renew("B", 13_000, 13_010, super::REVOKED)
    };
    told().is(&[Kind::LostSession]);
    told()
        .with(|history| history.stalls.push(span(15, 10_000)))
        .is(&[]);
}

#[test]
fn a_node_that_is_late_is_given_as_long_again() {
    let told = |at| {
        strict()
            .renew("A", 10, 5_020, Answer::Unknown)
            .renew("A", at, at + 10, won("B"))
            .renew("B", at + 20, at + 30, super::REVOKED)
    };
    told(6_000).is(&[]);
    told(10_100).is(&[Kind::LostSession]);
}

#[test]
fn what_only_a_lost_request_explains_is_not_judged() {
    strict().renew("A", 10, 20, won("B")).judged(1, 1);
    strict().renew("A", 10, 20, Answer::Unsent).judged(0, 0);
    // Nobody knows whether the first one, or both of them, were carried out.
    let lost = || {
        strict()
            .renew("A", 10, 20, Answer::Unknown)
            .renew("A", 30, 40, won("B"))
    };
    lost().judged(1, 2);
    lost().read(50, 60, Some(("B", 1))).judged(2, 2);
    // A retry that ended its own session.
    strict()
        .renew("A", 10, 20, Answer::Unavailable)
        .renew("A", 30, 40, USED)
        .judged(0, 2);
    // A race that one of them won.
    strict()
        .renew("A", 10, 20, won("B"))
        .renew("A", 10, 20, USED)
        .renew("B", 30, 40, super::REVOKED)
        .judged(3, 3);
    // Ended by a logout that had an answer, or had none.
    strict()
        .logout(10, 20, true)
        .renew("A", 30, 40, super::REVOKED)
        .judged(1, 1);
    strict()
        .logout(10, 20, false)
        .renew("A", 30, 40, super::REVOKED)
        .judged(0, 1);
    lenient()
        .renew("A", 10, 20, Answer::Unavailable)
        .judged(0, 1);
    let of_a_hundred = |judged| Judged {
        judged,
        all: 100,
        ..Judged::default()
    };
    assert!(of_a_hundred(95).is_enough());
    assert!(!of_a_hundred(94).is_enough());
}
