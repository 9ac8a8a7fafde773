//! The engine against a lake and connectors that fail wherever a test wants.

mod cancel;
mod delta;
mod driving;
mod events;
mod faults;
mod memory;
mod model_lake;
mod planning;
mod quarantine;
mod simulation;
mod source;
mod support;
