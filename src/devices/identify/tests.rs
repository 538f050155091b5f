use entity::{AppId, Timestamp};

use super::*;

/// The user who reports, and the name that is reported.
const NAME: Name = Name {
    sub: "user",
    client_id: "name",
};

/// A row for a case: nobody's, nameless, free and in use.
#[derive(Clone, Copy, Default)]
struct Case {
    sub: Option<&'static str>,
    name: Option<&'static str>,
    has_token: bool,
    is_of_session: bool,
    is_bare: bool,
    /// Disabled or registered.
    is_bound: bool,
}

const ROW: Case = Case {
    sub: None,
    name: None,
    has_token: false,
    is_of_session: false,
    is_bare: false,
    is_bound: false,
};
const USERS: Case = Case {
    sub: Some("user"),
    ..ROW
};
const NAMED: Case = Case {
    name: Some("name"),
    ..USERS
};
const OTHER_NAME: Case = Case {
    name: Some("another"),
    ..USERS
};
const STRANGERS: Case = Case {
    sub: Some("stranger"),
    ..ROW
};

impl Case {
    const fn with_token(self) -> Self {
        Self {
            has_token: true,
            ..self
        }
    }

    const fn of_session(self) -> Self {
        Self {
            is_of_session: true,
            ..self
        }
    }

    const fn bare(self) -> Self {
        Self {
            is_bare: true,
            ..self
        }
    }

    const fn bound(self) -> Self {
        Self {
            is_bound: true,
            ..self
        }
    }

    fn found(self, id: DeviceId) -> Found {
        let at = Timestamp::from_seconds(1000);
        let row = device::Model {
            sub: self.sub.map(str::to_owned),
            client_id: self.name.map(str::to_owned),
            ..device::Model::new(id, AppId::EXAMPLE, at)
        };
        let held = Held {
            row,
            is_free: !self.is_bound,
            is_bare: self.is_bare,
        };
        Found {
            held,
            has_token: self.has_token,
        }
    }
}

/// By the places of the rows: the device, its parts, the losers.
type Places<'a> = (Option<usize>, &'a [usize], &'a [usize]);

fn assert_identified(name: &str, cases: &[Case], expected: Places) {
    let mut ids = vec![DeviceId::EXAMPLE];
    for _ in cases {
        ids.push(ids[ids.len() - 1].next());
    }
    let session_device = cases.iter().position(|case| case.is_of_session);
    let report = Report {
        name: NAME,
        session_device: session_device.map(|place| ids[place]),
    };
    let found = cases.iter().zip(&ids).map(|(case, id)| case.found(*id));
    let identified = identify(report, found.collect());
    let place = |row: &device::Model| ids.iter().position(|id| *id == row.id).unwrap();
    let places = |rows: &[device::Model]| rows.iter().map(place).collect::<Vec<_>>();
    let (device, parts, losers) = expected;
    assert_eq!(identified.device.as_ref().map(place), device, "{name}");
    assert_eq!(places(&identified.parts), parts, "{name}");
    assert_eq!(places(&identified.losers), losers, "{name}");
}

#[test]
fn one_row_is_the_device_or_another_one() {
    let token = Case::with_token;
    let cases: [(&str, Case, Places); 16] = [
        ("named", NAMED, (Some(0), &[], &[])),
        ("named, with token", token(NAMED), (Some(0), &[], &[])),
        ("named, bound", NAMED.bound(), (Some(0), &[], &[])),
        ("of the session", USERS.of_session(), (Some(0), &[], &[])),
        ("nobody's, of session", ROW.of_session(), (None, &[], &[])),
        (
            "stranger's, of session",
            STRANGERS.of_session(),
            (None, &[], &[]),
        ),
        (
            "named otherwise, of session",
            OTHER_NAME.of_session(),
            (None, &[], &[]),
        ),
        ("nobody's token", token(ROW), (Some(0), &[], &[])),
        (
            "nobody's token, of session",
            token(ROW).of_session(),
            (Some(0), &[], &[]),
        ),
        ("the user's token", token(USERS), (Some(0), &[], &[])),
        (
            "the user's token, bound",
            token(USERS).bound(),
            (Some(0), &[], &[]),
        ),
        (
            "stranger's bare token",
            token(STRANGERS).bare(),
            (Some(0), &[], &[]),
        ),
        (
            "stranger's token in use",
            token(STRANGERS),
            (None, &[], &[0]),
        ),
        (
            "stranger's, of session",
            token(STRANGERS).of_session(),
            (None, &[], &[0]),
        ),
        (
            "named otherwise, with token",
            token(OTHER_NAME),
            (None, &[], &[0]),
        ),
        (
            "the same, of session",
            token(OTHER_NAME).of_session(),
            (None, &[], &[0]),
        ),
    ];
    for (name, case, expected) in cases {
        assert_identified(name, &[case], expected);
    }
    assert_identified("nothing found", &[], (None, &[], &[]));
}

#[test]
fn of_several_rows_the_named_one_comes_first_and_what_may_is_merged_into_it() {
    let token = Case::with_token;
    let session = Case::of_session;
    let cases: [(&str, &[Case], Places); 15] = [
        (
            "session before name",
            &[session(USERS), NAMED],
            (Some(1), &[0], &[]),
        ),
        (
            "token before name",
            &[token(ROW), NAMED],
            (Some(1), &[0], &[]),
        ),
        (
            "token before session",
            &[token(USERS), session(USERS)],
            (Some(1), &[0], &[]),
        ),
        (
            "two tokens",
            &[token(ROW), token(USERS)],
            (Some(0), &[1], &[]),
        ),
        (
            "all of them",
            &[token(ROW), token(USERS), session(USERS), NAMED],
            (Some(3), &[2, 0, 1], &[]),
        ),
        (
            "bound name, token",
            &[NAMED.bound(), token(USERS)],
            (Some(0), &[], &[1]),
        ),
        (
            "bound name, session",
            &[NAMED.bound(), session(USERS)],
            (Some(0), &[], &[]),
        ),
        (
            "bound name, session with token",
            &[NAMED.bound(), token(session(USERS))],
            (Some(0), &[], &[1]),
        ),
        (
            "name, bound token",
            &[NAMED, token(USERS).bound()],
            (Some(0), &[], &[1]),
        ),
        (
            "name, bound session",
            &[NAMED, session(USERS).bound()],
            (Some(0), &[], &[]),
        ),
        (
            "stranger's bare token",
            &[NAMED, token(STRANGERS).bare()],
            (Some(0), &[1], &[]),
        ),
        (
            "stranger's token in use",
            &[NAMED, token(STRANGERS)],
            (Some(0), &[], &[1]),
        ),
        (
            "of two strangers' bare tokens",
            &[
                token(STRANGERS).bare(),
                token(Case {
                    sub: Some("third"),
                    ..ROW
                })
                .bare(),
            ],
            (Some(0), &[1], &[]),
        ),
        (
            "of a stranger's bare token and the user's in use",
            &[token(STRANGERS).bare(), token(USERS)],
            (Some(0), &[], &[1]),
        ),
        (
            "session on a device of another name",
            &[NAMED, session(OTHER_NAME), token(USERS)],
            (Some(0), &[2], &[]),
        ),
    ];
    for (name, rows, expected) in cases {
        assert_identified(name, rows, expected);
    }
}
