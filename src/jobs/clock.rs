//! Whether this process's clock is believed. What a clock says that is wrong, by a day or by years, must not remove anything:
//! so before a job removes rows or rotates keys, the clock is compared with the newest time that the store knows.

use entity::{
    Timestamp, audit_event, lease,
    setting::{self, Clock},
    time::Span,
};

use crate::{
    app::App,
    error::Result,
    watch::{Seen, judge},
};

/// The newest time is written down no more often than this.
const STEP: Span = Span::seconds(30);

/// Looks at the clock, and notes in the store what is known of the time. Gives what it showed; `None` when it is not believed:
/// then nothing may be removed, and no key be made, by what it says. Nor by what it shows later: it may be set in between.
pub async fn look(app: &App) -> Result<Option<Timestamp>> {
    let seen = Seen {
        at: app.clock.now(),
        uptime: app.clock.uptime(),
        is_believed: false,
    };
    let before = app.watch.get();
    let compare = async || {
        let stored = setting::clock(&app.store.reader).await?;
        let known = match stored.newest {
            Some(_) => stored,
            None => Clock {
                newest: traces(app).await?,
                ..stored
            },
        };
        let (is_believed, learnt) = judge(known, before, seen);
        if learnt.claim.is_some() || is_news(stored, learnt) {
            let transaction = app.store.begin().await?;
            setting::set_clock(&transaction, stored, learnt).await?;
            app.store.commit(transaction).await?;
        }
        Ok((is_believed, known))
    };
    let (is_believed, known) = app.retry(compare).await?;
    app.watch.set(Seen {
        is_believed,
        ..seen
    });
    app.metrics.believes_clock(is_believed);
    let was_believed = before.is_none_or(|before| before.is_believed);
    if was_believed && !is_believed {
        tracing::warn!(
            clock = seen.at.to_rfc3339(),
            newest_in_store = known.newest.map(Timestamp::to_rfc3339),
            "the clock is far from the newest time that the store knows: nothing is purged and no signing key rotated until the \
             clock is set, or servers have run by it for 24 hours"
        );
    } else if is_believed && !was_believed {
        tracing::info!("the clock is believed again: jobs go on");
    }
    Ok(is_believed.then_some(seen.at))
}

/// The newest time of which a store of an earlier release has a trace. A fresh store was made a moment ago.
async fn traces(app: &App) -> Result<Option<Timestamp>> {
    let runs = lease::list(&app.store.reader).await?;
    let runs = runs.iter().filter_map(|lease| lease.last_run_at).max();
    Ok(runs.max(audit_event::last_at(&app.store.reader).await?))
}

fn is_news(stored: Clock, learnt: Clock) -> bool {
    stored.claim.is_some()
        || match (stored.newest, learnt.newest) {
            (Some(stored), Some(learnt)) => stored.distance(learnt) >= STEP,
            (stored, learnt) => stored != learnt,
        }
}
