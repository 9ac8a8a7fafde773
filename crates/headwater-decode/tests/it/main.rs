//! Tests of the decoder through its interface.

#[cfg(test)]
mod any_page;
#[cfg(test)]
mod decoding;
#[cfg(test)]
mod edge;
#[cfg(test)]
mod landing;
mod reference;
#[cfg(test)]
mod vectors;
