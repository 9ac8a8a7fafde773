//! Workers of every kind, driven through the public interface.

mod python;
mod support;
mod workers;
