//! How long something may wait for the store, all its waits taken together.

use std::{cell::Cell, time::Duration};

use sea_orm::{ConnAcquireErr, DbErr};
use tokio::time::Instant;

tokio::task_local! {
    /// The end of the time that the present piece of work has; `None` until it waits for the first time.
    static END: Cell<Option<Instant>>;
}

/// Gives all that `work` waits for the store one common deadline. The time begins with the first wait: a client that sends its
/// request slowly takes nothing from it.
pub async fn shared<F: Future>(work: F) -> F::Output {
    END.scope(Cell::new(None), work).await
}

/// `work` waits for the store no longer than `limit` from now, nor longer than what it is a part of.
pub async fn within<F: Future>(limit: Duration, work: F) -> F::Output {
    until(Instant::now() + limit, work).await
}

/// The same until `end`.
pub async fn until<F: Future>(end: Instant, work: F) -> F::Output {
    let outer = END.try_with(Cell::get).ok().flatten();
    let end = outer.map_or(end, |outer| outer.min(end));
    END.scope(Cell::new(Some(end)), work).await
}

/// Until when the present piece of work may wait, which may wait `timeout` in all. What is part of nothing has it all anew.
pub fn end(timeout: Duration) -> Instant {
    let fresh = || Instant::now() + timeout;
    let shared = END.try_with(|end| {
        let known = end.get().unwrap_or_else(fresh);
        end.set(Some(known));
        known
    });
    shared.unwrap_or_else(|_| fresh())
}

/// The time that `work` takes, which does not wait for the store, is not counted.
pub async fn uncounted<F: Future>(work: F) -> F::Output {
    let began = Instant::now();
    let done = work.await;
    // Outside of any piece of work each wait has its own time.
    let _ = END.try_with(|end| end.set(end.get().map(|end| end + began.elapsed())));
    done
}

/// The error of what was not answered in time.
pub fn over() -> DbErr {
    DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn the_waits_of_a_piece_of_work_have_one_end() {
        shared(async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let first = end(SECOND);
            assert!(first > Instant::now() + SECOND / 2);
            assert_eq!(end(SECOND * 9), first);
            let inner = within(SECOND / 4, async { end(SECOND) }).await;
            assert!(inner < first);
            assert_eq!(within(SECOND * 9, async { end(SECOND) }).await, first);
            assert_eq!(end(SECOND), first);
        })
        .await;
        shared(async {
            let first = end(SECOND);
            uncounted(tokio::time::sleep(Duration::from_millis(2))).await;
            assert!(end(SECOND) >= first + Duration::from_millis(2));
        })
        .await;
        let alone = end(SECOND);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(end(SECOND) > alone);
    }
}
