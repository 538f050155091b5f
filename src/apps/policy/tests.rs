//! What is promised of the fields of a policy.

use super::*;

fn blank() -> app::Model {
    let now = Timestamp::from_seconds(1_740_427_049);
    app::Model::blank(AppId::EXAMPLE, now)
}

fn defaults() -> serde_json::Map<String, Value> {
    let defaults = serde_json::to_value(NewApp::named("shop".to_owned())).unwrap();
    defaults.as_object().unwrap().clone()
}

/// The table of the documentation is written for people, so it is not made from the declarations.
#[test]
fn every_field_is_in_the_table_of_the_documentation() {
    let page = include_str!("../../../docs/http.md");
    let (_, table) = page.split_once("### The settings of an app").unwrap();
    let names: Vec<_> = table
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    for field in FIELDS {
        assert!(names.contains(&field.name), "{} is missing", field.name);
    }
    assert_eq!(names.len(), FIELDS.len(), "{names:?}");
}

#[test]
fn a_policy_is_the_same_in_its_row() {
    let new = NewApp {
        issuer: Some("https://shop.example.com".to_owned()),
        key_type: KeyType::Rsa,
        algo: Algorithm::Ps256,
        session_expire: Some(86_400),
        max_sessions_per_subject: Some(3),
        allowed_origins: vec![
            "https://a.example".to_owned(),
            "https://b.example".to_owned(),
        ],
        registration_expire: Some(60),
        push_binding: true,
        device_audiences: vec!["telemetry".to_owned()],
        ..NewApp::named("shop".to_owned())
    };
    let written = serde_json::to_value(&new).unwrap();
    let row = new.into_row(AppId::EXAMPLE, blank().created_at).unwrap();
    assert_eq!(Value::Object(members(&row)), written);
    // As changes of another app, too: every field is changed by what is set, and by nothing else.
    let changes = AppChanges::from_json(written.as_object().unwrap().clone()).unwrap();
    let other = NewApp::named("other".to_owned());
    let other = other.into_row(AppId::EXAMPLE, blank().created_at).unwrap();
    let changed = changes.apply(other.clone(), blank().created_at).unwrap();
    assert_eq!(Value::Object(members(&changed)), written);
    let unchanged = AppChanges::default()
        .apply(other.clone(), blank().created_at)
        .unwrap();
    assert_eq!(members(&unchanged), members(&other));
}

#[test]
fn null_removes_what_can_be_removed_and_leaves_the_rest() {
    let null = |name: &String| (name.clone(), Value::Null);
    let changes = AppChanges::from_json(defaults().keys().map(null).collect()).unwrap();
    let mut row =
        NewApp::named("shop".to_owned()).into_row_unchecked(AppId::EXAMPLE, blank().created_at);
    let before = members(&row);
    row.issuer = Some("a".to_owned());
    row.session_expiry = Some(60);
    row.max_sessions_per_subject = Some(1);
    row.registration_expiry = Some(60);
    changes.store(&mut row);
    assert_eq!(members(&row), before);
}

#[test]
fn what_is_out_of_its_bounds_is_named() {
    for (field, wrong, message) in [
        (
            "name",
            Value::from(" "),
            "must have 1 to 100 characters, none of them a control character",
        ),
        (
            "description",
            "\n".into(),
            "must have at most 1000 characters, none of them a control character",
        ),
        (
            "issuer",
            "".into(),
            "must have 1 to 255 characters, none of them a control character",
        ),
        (
            "rotation_period",
            59.into(),
            "must be 60 to 31536000 seconds",
        ),
        (
            "registration_grace",
            (-1).into(),
            "must be 0 to 31536000 seconds",
        ),
        (
            "max_sessions_per_subject",
            10_001.into(),
            "must be 1 to 10000",
        ),
    ] {
        let mut members = defaults();
        members.insert(field.to_owned(), wrong);
        let new = NewApp::default().with(AppChanges::from_json(members).unwrap());
        let Err(Error::Invalid(violations)) = new.into_row(AppId::EXAMPLE, blank().created_at)
        else {
            panic!("{field} is taken");
        };
        let shown = violations
            .iter()
            .map(|violation| (&*violation.field, &*violation.message));
        assert_eq!(shown.collect::<Vec<_>>(), [(field, message)]);
    }
}

/// The names of serde are those of the contract.
#[test]
fn algorithms_have_one_name() {
    for algorithm in Algorithm::ALL {
        assert_eq!(serde_json::to_value(algorithm).unwrap(), algorithm.as_str());
        let family = algorithm.key_type();
        assert_eq!(serde_json::to_value(family).unwrap(), family.as_str());
    }
}
