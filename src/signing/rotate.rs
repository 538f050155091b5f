//! One signing key follows another: on schedule, by hand, or in an emergency.

use entity::{AppId, SigningKeyId, Timestamp, app, setting, signing_key, time::Span};
use keys::{Algorithm, PublicKey};
use store::Transaction;

use crate::{
    app::App,
    apps::Revision,
    audit::{Action, Actor, Event},
    error::{Error, Result},
    signing::{
        NewKey, dates, generate,
        schedule::{
            KeyDates, RotationPolicy, State, Step, active, hurry, next_step, over, place, states,
        },
    },
};

/// Signing keys of an app that are not gone yet: all are read and parsed whenever the app has changed, and shown to every
/// verifier. So many are enough for one a day and tokens that live for three months.
pub const MOST: usize = 100;
/// When it is looked again whether there is room for a further key.
const FULL: Span = Span::seconds(3600);

/// What the app's policy and the settings say of its keys.
pub fn policy(app: &App, row: &app::Model) -> RotationPolicy {
    RotationPolicy::new(
        row.rotation_period,
        token_life(row),
        app.config.jwks_max_age(),
    )
}

/// The keys of an app as they were read, and what is to become of them.
struct Change<'a> {
    app: &'a App,
    row: app::Model,
    keys: Vec<signing_key::Model>,
    now: Timestamp,
    events: Vec<Event>,
}

impl<'a> Change<'a> {
    async fn read(app: &'a App, id: AppId) -> Result<Self> {
        let reader = &app.store.reader;
        let row = app::find(reader, id).await?.ok_or(Error::NotFound("app"))?;
        let keys = signing_key::list_in(reader, id).await?;
        Ok(Self {
            app,
            row,
            keys,
            now: app.clock.now(),
            events: Vec::new(),
        })
    }

    /// The same for a revocation. It bears no time before the newest that the store knows: by a clock that is far behind, a key
    /// would seem never to have signed, and to be gone for long.
    async fn read_to_revoke(app: &'a App, id: AppId) -> Result<Self> {
        let mut change = Self::read(app, id).await?;
        let known = setting::clock(&app.store.reader).await?;
        change.now = known
            .newest
            .map_or(change.now, |newest| newest.max(change.now));
        Ok(change)
    }

    fn dates(&self) -> Vec<KeyDates> {
        self.keys.iter().map(dates).collect()
    }

    fn states(&self) -> Vec<State> {
        states(&self.dates(), self.now)
    }

    /// Whether there may be another one.
    fn has_room(&self) -> bool {
        let states = self.states();
        let there = states
            .iter()
            .filter(|state| !matches!(state, State::Gone { .. }));
        there.count() < MOST
    }

    fn note(&mut self, action: Action, id: SigningKeyId) {
        self.events.push(Event::of(action, self.row.id, id));
    }

    async fn generate(&self, activates_at: Timestamp) -> Result<NewKey> {
        let algorithm: Algorithm = self.row.algorithm.parse().map_err(Error::internal)?;
        let life = token_life(&self.row);
        let activates_at = place(&self.dates(), activates_at);
        generate(
            self.app,
            self.row.id,
            algorithm,
            life,
            self.now,
            activates_at,
        )
        .await
    }

    /// Stores `new`, and lets it take its place among the keys.
    async fn insert(&mut self, db: &Transaction, new: NewKey) -> Result<()> {
        let row = new.insert(db).await?;
        self.note(Action::SigningKeyPublish, row.id);
        self.keys.push(row);
        self.sort();
        Ok(())
    }

    fn sort(&mut self) {
        self.keys.sort_by_key(|row| (row.activates_at, row.id));
    }

    /// Removes the keys that nothing needs. By the job alone, whose clock is believed.
    async fn remove(&mut self, db: &Transaction) -> Result<()> {
        let over = over(&self.states(), self.now);
        let over: Vec<_> = over.iter().map(|index| self.keys[*index].id).collect();
        for id in &over {
            self.note(Action::SigningKeyRemove, *id);
        }
        self.keys.retain(|row| !over.contains(&row.id));
        Ok(signing_key::delete(db, over).await?)
    }

    /// Notes a change of the active key, and commits. Of two changes that read the same state, one gets here.
    async fn commit(mut self, revision: Revision<'_>) -> Result<()> {
        let db = &revision.db;
        let mut rotated = self.row.last_key_rotate;
        let active = active(&self.dates(), self.now);
        if let Some(index) = active
            && let Some(predecessor) = index.checked_sub(1)
            && rotated.is_none_or(|at| at < self.keys[index].activates_at)
        {
            rotated = Some(self.keys[index].activates_at);
            self.note(Action::SigningKeyActivate, self.keys[index].id);
            if self.keys[predecessor].revoked_at.is_none() {
                self.note(Action::SigningKeyRetire, self.keys[predecessor].id);
            }
        }
        // An emergency is never refused for want of room: those that were revoked first go, and their tokens are garbage.
        let excess = self.keys.len().saturating_sub(MOST);
        let revoked = self.keys.iter().filter(|row| row.revoked_at.is_some());
        let mut revoked: Vec<_> = revoked.map(|row| (row.revoked_at, row.id)).collect();
        revoked.sort_unstable();
        let revoked: Vec<_> = revoked.into_iter().map(|(_, id)| id).take(excess).collect();
        for id in &revoked {
            self.note(Action::SigningKeyRemove, *id);
        }
        self.keys.retain(|row| !revoked.contains(&row.id));
        signing_key::delete(db, revoked).await?;
        let next = match next_step(&self.dates(), policy(self.app, &self.row), self.now) {
            Step::Publish { .. } if self.has_room() => self.now,
            Step::Publish { .. } => self.now + FULL,
            Step::Wait(until) => until,
        };
        if !app::schedule_keys(db, &self.row, rotated, next).await? {
            return Err(Error::Conflict(
                "the signing keys of the app were changed meanwhile",
            ));
        }
        revision.commit(self.events).await
    }
}

/// The longest life of a token that the app's policy allows, seconds.
pub fn token_life(row: &app::Model) -> i64 {
    row.token_expiry.max(row.refresh_expiry)
}

/// Does what is due for the keys of the app at `now`: the work of the rotation job. `now` is what a clock showed that was believed,
/// and stays the same however often this is tried: the clock may be set meanwhile. `fence` is asked in the transaction whether
/// the job may still work.
///
/// # Errors
/// [`Error::Conflict`] when somebody else changed the keys meanwhile.
pub async fn advance(
    app: &App,
    id: AppId,
    now: Timestamp,
    fence: impl AsyncFn(&Transaction) -> Result<()>,
) -> Result<()> {
    app.retry(|| take_step(app, id, now, &fence)).await
}

async fn take_step(
    app: &App,
    id: AppId,
    now: Timestamp,
    fence: impl AsyncFn(&Transaction) -> Result<()>,
) -> Result<()> {
    let mut change = Change::read(app, id).await?;
    change.now = now;
    let step = next_step(&change.dates(), policy(app, &change.row), change.now);
    let new = match step {
        Step::Publish { activates_at } if change.has_room() => {
            Some(change.generate(activates_at).await?)
        }
        Step::Publish { .. } => {
            tracing::warn!(app_id = %id, "the app has {MOST} signing keys: the present one signs on");
            None
        }
        Step::Wait(_) => None,
    };
    let job = Actor::job();
    let revision = Revision::begin(app, &job, id).await?;
    fence(&revision.db).await?;
    if let Some(new) = new {
        change.insert(&revision.db, new).await?;
    }
    change.remove(&revision.db).await?;
    change.commit(revision).await
}

/// Rotates by hand, gracefully: the next key is published, and signs when every verifier can have fetched it.
/// Gives the id of the next key and when it signs; one that is published already is taken, and signs as soon as
/// it may.
///
/// # Errors
/// When there is no such app, or it has as many keys as it may have.
pub async fn rotate(app: &App, actor: &Actor, id: AppId) -> Result<(SigningKeyId, Timestamp)> {
    app.retry(|| publish_next(app, actor, id)).await
}

async fn publish_next(app: &App, actor: &Actor, id: AppId) -> Result<(SigningKeyId, Timestamp)> {
    let mut change = Change::read(app, id).await?;
    let lead = policy(app, &change.row).lead();
    let place = change
        .states()
        .iter()
        .position(|state| *state == State::Published);
    let (next, new) = match place {
        Some(index) => {
            let soonest = (change.keys[index].created_at + lead).max(change.now);
            let at = hurry(&change.dates(), index, soonest);
            let row = &mut change.keys[index];
            row.activates_at = at;
            ((row.id, row.activates_at), None)
        }
        None if !change.has_room() => {
            return Err(Error::TooMany(
                "The app has 100 signing keys whose tokens may live, which is the most. Wait until the first is gone, or revoke some.",
            ));
        }
        None => {
            let new = change.generate(change.now + lead).await?;
            ((new.id(), new.row().activates_at), Some(new))
        }
    };
    let revision = Revision::begin(app, actor, id).await?;
    match new {
        Some(new) => change.insert(&revision.db, new).await?,
        None => {
            signing_key::activate_at(&revision.db, next.0, next.1).await?;
            change.note(Action::SigningKeyPublish, next.0);
        }
    }
    change.commit(revision).await?;
    Ok(next)
}

/// Revokes every key of the app and signs with a new one at once: all of its tokens are dead, and none of its
/// sessions renews. Verifiers that hold the old keys learn of it when they fetch them again.
///
/// # Errors
/// When there is no such app.
pub async fn rotate_in_emergency(app: &App, actor: &Actor, id: AppId) -> Result<PublicKey> {
    app.retry(|| replace_all(app, actor, id)).await
}

async fn replace_all(app: &App, actor: &Actor, id: AppId) -> Result<PublicKey> {
    let mut change = Change::read_to_revoke(app, id).await?;
    for index in 0..change.keys.len() {
        if change.keys[index].revoked_at.is_none() {
            change.keys[index].revoked_at = Some(change.now);
            change.note(Action::SigningKeyRevoke, change.keys[index].id);
        }
    }
    let new = change.generate(change.now).await?;
    let public = new.public.clone();
    let revision = Revision::begin(app, actor, id).await?;
    signing_key::revoke_in(&revision.db, id, None, change.now).await?;
    change.insert(&revision.db, new).await?;
    change.commit(revision).await?;
    Ok(public)
}

/// Revokes one key of the app: its tokens are dead, and its sessions do not renew. If it was the one that signs,
/// the next one does at once.
///
/// # Errors
/// When there is no such key, or it is revoked already.
pub async fn revoke(app: &App, actor: &Actor, id: AppId, key: SigningKeyId) -> Result<()> {
    app.retry(|| revoke_one(app, actor, id, key)).await
}

async fn revoke_one(app: &App, actor: &Actor, id: AppId, key: SigningKeyId) -> Result<()> {
    let mut change = Change::read_to_revoke(app, id).await?;
    let states = change.states();
    let found = change.keys.iter().position(|row| row.id == key);
    let index = found
        .filter(|index| states[*index].verifies())
        .ok_or(Error::NotFound("signing key"))?;
    let next = states.iter().position(|state| *state == State::Published);
    let needs_next = states[index] == State::Active;
    let new = match next {
        None if needs_next => Some(change.generate(change.now).await?),
        _ => None,
    };
    let revision = Revision::begin(app, actor, id).await?;
    signing_key::revoke_in(&revision.db, id, Some(key), change.now).await?;
    change.keys[index].revoked_at = Some(change.now);
    change.note(Action::SigningKeyRevoke, key);
    if let Some(new) = new {
        change.insert(&revision.db, new).await?;
    } else if needs_next && let Some(next) = next {
        let at = hurry(&change.dates(), next, change.now);
        let row = &mut change.keys[next];
        row.activates_at = at;
        signing_key::activate_at(&revision.db, row.id, at).await?;
        change.sort();
    }
    change.commit(revision).await
}
