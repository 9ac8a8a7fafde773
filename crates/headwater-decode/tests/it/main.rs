//! Tests of the decoder through its interface.

#[cfg(test)]
mod decoding;
#[cfg(test)]
mod edge;
mod reference;
#[cfg(test)]
mod vectors;
