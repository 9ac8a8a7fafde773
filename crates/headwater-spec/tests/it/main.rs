//! Tests of the specs through the public interface, on whole documents.

#[cfg(test)]
mod pipeline;
