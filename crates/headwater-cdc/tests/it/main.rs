//! Tests of the rules through their interface.

#[cfg(test)]
mod model;
#[cfg(test)]
mod vectors;
