//! Reads any wiki that runs MediaWiki, over its Action API: pages, revisions, recent changes, log, users,
//! categories and their members.
//!
//! **Invariants:** no revision, change or log entry is left out because it shares its second with another, or
//! because it was stored after a later one (`api.md` says what holds for each table, and what cannot be seen);
//! requests go out one after the other; an answer of the wiki is handed over as it came wherever its records
//! stand in one flat list; no password is in an error or a log line.
//!
//! Start reading at [`MediaWikiFactory`], then `connector`: it sends each table to the module that reads it.

mod api;
mod connector;
mod error;
mod id_walk;
mod listings;
mod pages;
mod query;
mod revisions;
mod session;
mod settings;
mod tables;
mod time_walk;

pub use connector::MediaWikiFactory;
