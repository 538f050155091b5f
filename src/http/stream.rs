//! A TCP stream that notes what becomes of it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::connections::Connection;

/// The stream of a connection.
#[derive(Debug)]
pub struct Observed {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// The last four bytes that were received.
    tail: u32,
    /// The client takes no more for now.
    is_blocked: bool,
    /// A read was put off until it does.
    is_read_put_off: bool,
}

impl Observed {
    pub fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self {
            stream,
            connection,
            tail: 0,
            is_blocked: false,
            is_read_put_off: false,
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        for byte in &bytes[bytes.len().saturating_sub(4)..] {
            self.tail = (self.tail << 8) | u32::from(*byte);
        }
        // A head ends with an empty line; the parser takes a bare LF for a line's end, too.
        let ends_head = self.tail & 0xffff == 0x0a0a || self.tail & 0x00ff_ffff == 0x0a_0d0a;
        self.connection.progress.received(ends_head);
    }

    fn wrote<T>(&mut self, context: &Context<'_>, written: Poll<T>) -> Poll<T> {
        if written.is_pending() != self.is_blocked {
            self.is_blocked = !self.is_blocked;
            if self.is_blocked {
                self.connection.progress.blocked();
            } else {
                self.connection.progress.unblocked();
                if std::mem::take(&mut self.is_read_put_off) {
                    context.waker().wake_by_ref();
                }
            }
        }
        written
    }
}

impl AsyncRead for Observed {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Who does not read the answers asks for no more of them: they would pile up here.
        if this.is_blocked {
            this.is_read_put_off = true;
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let read = &buffer.filled()[before..];
        if !read.is_empty() {
            this.received(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Observed {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.wrote(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.wrote(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(context))?;
        this.connection.progress.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
