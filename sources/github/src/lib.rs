//! Reads GitHub, in the cloud or as Enterprise Server, over its REST API: repositories and what happens in them,
//! organizations, teams and users.
//!
//! **Invariants:** no record is left out because it shares its second with another, or because the list that it stands
//! in moved while it was read (`api.md` says how, table by table, and what cannot be seen); a record is handed over
//! as it came, with what the API only says in its address put before it; no token and no key is in an error or a
//! log line.
//!
//! Start reading at [`GitHubFactory`], then `connector`: it sends each table to the module that reads it. `walk` goes
//! through the repositories of the tables that are read by changes.

mod app;
mod backfill;
mod changes;
mod commits;
mod connector;
mod github;
mod pulls;
mod repos;
mod rows;
mod runs;
mod schema;
mod settings;
mod snapshots;
mod tables;
mod walk;

pub use connector::GitHubFactory;
