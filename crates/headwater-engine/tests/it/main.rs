//! The engine against a lake and connectors that fail wherever a test wants.

#[cfg(test)]
mod cancel;
#[cfg(test)]
mod cdc;
#[cfg(test)]
mod delta;
#[cfg(test)]
mod driving;
#[cfg(test)]
mod events;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod model_lake;
#[cfg(test)]
mod planning;
#[cfg(test)]
mod quarantine;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod source;
#[cfg(test)]
mod support;
