use std::{cell::RefCell, io, sync::Once};

use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, dynamic_filter_fn},
    fmt::MakeWriter,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

thread_local! {
    static CAPTURED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// What is logged on this thread, at every level and by every library, as JSON, until it is dropped. A test that
/// captures runs on one thread.
pub struct Capture(());

struct ThisThread;

/// From now on a test that fails shows the errors that were logged: the cause of a 500 is nowhere else.
pub fn install() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let captured = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(ThisThread)
            .with_filter(dynamic_filter_fn(|_, _| is_capturing()));
        let errors = tracing_subscriber::fmt::layer()
            .with_test_writer()
            .with_ansi(false)
            .with_filter(LevelFilter::ERROR);
        tracing_subscriber::registry()
            .with(captured)
            .with(errors)
            .init();
    });
}

impl Capture {
    pub fn start() -> Self {
        install();
        CAPTURED.set(Some(Vec::new()));
        Self(())
    }

    pub fn text(&self) -> String {
        let bytes = CAPTURED.with_borrow(|captured| captured.clone().unwrap_or_default());
        String::from_utf8(bytes).unwrap()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        CAPTURED.set(None);
    }
}

fn is_capturing() -> bool {
    CAPTURED.with_borrow(Option::is_some)
}

impl io::Write for ThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        CAPTURED.with_borrow_mut(|captured| {
            if let Some(captured) = captured {
                captured.extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for ThisThread {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}
