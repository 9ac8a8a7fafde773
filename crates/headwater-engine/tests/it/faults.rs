//! What goes wrong, and when: every call to the source or the lake is a step, and a test chooses what becomes of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use headwater_lake::LakeError;
use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call fails; doing it again may help.
    Again,
    /// The call fails for good.
    Fatal,
    /// A commit takes effect, but the answer is lost. Elsewhere as `Again`.
    LandedInDoubt,
    /// A commit does not take effect, and nobody knows. Elsewhere as `Again`.
    NotLandedInDoubt,
    /// The process dies before the call takes effect.
    CrashBefore,
    /// The process dies after a commit has taken effect. Elsewhere as `CrashBefore`.
    CrashAfter,
}

impl Fault {
    pub(crate) const ALL: [Fault; 6] = [
        Fault::Again,
        Fault::Fatal,
        Fault::LandedInDoubt,
        Fault::NotLandedInDoubt,
        Fault::CrashBefore,
        Fault::CrashAfter,
    ];
}

/// The faults of one process's life.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    plan: Mutex<BTreeMap<usize, Fault>>,
    steps: Mutex<(usize, Vec<String>)>,
    dead: Mutex<bool>,
    death: Notify,
}

impl Faults {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    pub(crate) fn at(plan: impl IntoIterator<Item = (usize, Fault)>) -> Self {
        let faults = Self::default();
        *faults.0.plan.lock().unwrap() = plan.into_iter().collect();
        faults
    }

    /// Counts a step and says what becomes of it. Never returns from the step at which the process dies, nor from
    /// any after it.
    pub(crate) async fn step(&self, what: &str) -> Option<Fault> {
        if *self.0.dead.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        let fault = {
            let mut steps = self.0.steps.lock().unwrap();
            let fault = self.0.plan.lock().unwrap().get(&steps.0).copied();
            let number = steps.0;
            steps.1.push(format!("{number} {what} {fault:?}"));
            steps.0 += 1;
            fault
        };
        let dies_here =
            fault == Some(Fault::CrashBefore) || (fault == Some(Fault::CrashAfter) && what != "commit");
        if dies_here {
            self.die().await;
        }
        fault
    }

    pub(crate) async fn die(&self) {
        *self.0.dead.lock().unwrap() = true;
        self.0.death.notify_one();
        std::future::pending::<()>().await;
    }

    /// Waits for the process to die.
    pub(crate) async fn death(&self) {
        self.0.death.notified().await;
    }

    pub(crate) fn steps(&self) -> usize {
        self.0.steps.lock().unwrap().0
    }

    pub(crate) fn trace(&self) -> String {
        self.0.steps.lock().unwrap().1.join("\n")
    }
}

/// What a fault makes of a call to a lake.
pub(crate) fn lake_error(fault: Option<Fault>, doing: &str) -> Result<(), LakeError> {
    let error = |retryable, in_doubt| LakeError::Storage {
        doing: doing.to_owned(),
        source: "injected".into(),
        retryable,
        in_doubt,
    };
    match fault {
        None | Some(Fault::CrashAfter) => Ok(()),
        Some(Fault::Fatal) => Err(error(false, false)),
        Some(Fault::LandedInDoubt | Fault::NotLandedInDoubt) if doing == "commit" => Err(error(false, true)),
        Some(_) => Err(error(true, false)),
    }
}
