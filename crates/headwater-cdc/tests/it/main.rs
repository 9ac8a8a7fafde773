//! Tests of the rules through their interface.

#[cfg(test)]
mod keys;
#[cfg(test)]
mod model;
#[cfg(test)]
mod ordering;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod vectors;
