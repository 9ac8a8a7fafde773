//! The connector against a real MediaWiki, which `testing/setup-mediawiki.sh` installs.
#![cfg(test)]

mod connection;
mod pages;
mod revisions;
mod rules;
mod snapshots;
mod support;
mod timelines;
