//! Ctrl-C and SIGTERM.

use std::future::Future;
use std::time::Duration;

use headwater_engine::Cancellation;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::fail::{Exit, Failure};
use crate::output::{Out, Style};

/// Runs `work` until it ends or the user interrupts: what is under way is dropped at once.
pub(crate) async fn until_interrupted<T>(
    out: &Out,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut signals = Signals::listen()?;
    tokio::select! {
        done = work => done,
        () = signals.next() => {
            out.say(&out.style(Style::Yellow, "interrupted"));
            Err(Failure::silent(Exit::Interrupted))
        }
    }
}

/// Waits for Ctrl-C or SIGTERM, where that is how a command is meant to end.
pub(crate) async fn interrupted() -> Result<(), Failure> {
    Signals::listen()?.next().await;
    Ok(())
}

/// Runs an update; the first signal asks it to end at its next safe point, the second at once.
pub(crate) async fn gracefully<T>(
    out: &Out,
    cancel: &Cancellation,
    update: impl Future<Output = T>,
) -> Result<T, Failure> {
    let mut signals = Signals::listen()?;
    tokio::pin!(update);
    tokio::select! {
        done = &mut update => return Ok(done),
        () = signals.next() => {}
    }
    cancel.request();
    out.say(&out.style(Style::Yellow, "interrupted: ending at the next safe point; once more ends at once"));
    tokio::select! {
        done = &mut update => return Ok(done),
        () = signals.next() => {}
    }
    cancel.request_immediate();
    out.say(
        &out.style(Style::Yellow, "interrupted: what was committed stays, the next run goes on from there"),
    );
    // An update that does not hear is dropped, which leaves its tables as their last commits left them.
    tokio::select! {
        done = tokio::time::timeout(PATIENCE, &mut update) => {
            done.map_err(|_| Failure::silent(Exit::Interrupted))
        }
        () = signals.next() => Err(Failure::silent(Exit::Interrupted)),
    }
}

/// How long an update may take to end at once.
const PATIENCE: Duration = Duration::from_secs(3);

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::other("signals cannot be listened to", &e));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
