//! Connections: a bounded number of them, each given up when its client stalls.

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use cooee_telemetry::Telemetry;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep, sleep};

use crate::limits::{CONNECTIONS_MAX, GRACE, STALL};
use crate::{Admin, Auth, Error, router};

/// Serves the API until `shutdown` comes, then lets open requests end.
///
/// # Errors
/// [`Error::Unguarded`] where the listener can be reached from elsewhere without a token,
/// [`Error::Socket`] where it failed.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let address = listener.local_addr()?;
    if matches!(**admin.auth.load(), Auth::None) && !address.ip().is_loopback() {
        return Err(Error::Unguarded(address));
    }
    let bounds = Bounds { connections: CONNECTIONS_MAX, stall: STALL };
    let telemetry = Arc::clone(&admin.telemetry);
    run(listener, router(admin), telemetry, bounds, shutdown).await
}

/// What the connections of one listener may take.
pub(crate) struct Bounds {
    /// How many are served at once.
    pub(crate) connections: usize,
    /// How long nothing may be written to one.
    pub(crate) stall: Duration,
}

/// Serves routes within bounds until `shutdown` comes, then lets open requests end.
pub(crate) async fn run(
    listener: TcpListener,
    routes: Router,
    telemetry: Arc<Telemetry>,
    Bounds { connections, stall }: Bounds,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let free = Arc::new(Semaphore::new(connections));
    let bounded = Bounded { listener, free, stall, telemetry };
    let (stopping, stopped) = oneshot::channel();
    let until = async move {
        shutdown.await;
        let _ = stopping.send(());
    };
    let serving = axum::serve(bounded, routes).with_graceful_shutdown(until);
    tokio::select! {
        ended = serving => ended?,
        () = async { _ = stopped.await; sleep(GRACE).await } => {}
    }
    Ok(())
}

struct Bounded {
    listener: TcpListener,
    free: Arc<Semaphore>,
    stall: Duration,
    telemetry: Arc<Telemetry>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Nobody closes the semaphore; if somebody did, no more connections would be the answer.
        let Ok(permit) = Arc::clone(&self.free).acquire_owned().await else {
            return pending().await;
        };
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let connection = Connection {
            stream,
            deadline: Box::pin(sleep(self.stall)),
            stall: self.stall,
            busy: false,
            telemetry: Arc::clone(&self.telemetry),
            _permit: permit,
        };
        (connection, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when nothing has been written to it for so long: one rule for a client
/// that drips its request, one that does not read its answer, and one that idles.
struct Connection {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    stall: Duration,
    /// Something has come since the last write.
    busy: bool,
    telemetry: Arc<Telemetry>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn has_stalled(&mut self, context: &mut Context<'_>) -> bool {
        self.deadline.as_mut().poll(context).is_ready()
    }

    fn give_up(&self) -> io::Error {
        self.telemetry.admin.stalled.fetch_add(1, Ordering::Relaxed);
        io::ErrorKind::TimedOut.into()
    }

    fn wrote(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(_)) = result {
            self.busy = false;
            let deadline = Instant::now() + self.stall;
            self.deadline.as_mut().reset(deadline);
        }
        result
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_stalled(context) {
            // For a client that asked for nothing this reads as the end of the stream.
            return Poll::Ready(if self.busy { Err(self.give_up()) } else { Ok(()) });
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.busy |= buffer.filled().len() > before;
        result
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        if result.is_pending() && self.has_stalled(context) {
            return Poll::Ready(Err(self.give_up()));
        }
        self.wrote(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if result.is_pending() && self.has_stalled(context) {
            return Poll::Ready(Err(self.give_up()));
        }
        self.wrote(result)
    }
}
