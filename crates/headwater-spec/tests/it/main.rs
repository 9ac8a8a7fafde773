//! Tests of the specs through the public interface, on whole documents.

#[cfg(test)]
mod connector;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod expand;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod pipeline;
#[cfg(test)]
mod rendering;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod shipped;
