//! A connection that gives no more than a bound: whatever the other side floods it with, answers that come before the answer (1xx),
//! heads without end, chunks of one byte, it is one number.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that a connection may give, TLS and framing included: a body of 256 KiB with as much again of framing, certificates
/// and heads.
pub(crate) const RECEIVED_MAX: usize = 768 * 1024;

/// A connection, however it was made.
pub(crate) type Stream = Box<dyn ReadWrite>;

/// What a connection can do.
pub(crate) trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// See the module.
pub(crate) struct Metered<T> {
    inner: T,
    left: usize,
}

impl<T> Metered<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self {
            inner,
            left: RECEIVED_MAX,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            let reason = format!("it sent more than {RECEIVED_MAX} bytes");
            return Poll::Ready(Err(io::Error::other(reason)));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        let received = buffer.filled().len() - before;
        self.left = self.left.saturating_sub(received);
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
