//! The body of a request, which notes when it has ended.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use super::connections::Connection;

/// A body that is still to come.
#[derive(Debug)]
pub struct Observed {
    incoming: Incoming,
    connection: Arc<Connection>,
}

impl Observed {
    pub fn new(incoming: Incoming, connection: Arc<Connection>) -> Self {
        Self {
            incoming,
            connection,
        }
    }
}

impl Body for Observed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.incoming).poll_frame(context));
        if frame.is_none() || this.incoming.is_end_stream() {
            this.connection.progress.body_ended();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.connection.progress.body_ended();
    }
}
