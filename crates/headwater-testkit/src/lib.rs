//! The contract suite: a test per numbered rule of [`headwater_connect::Connector`], for any connector.
//!
//! A connector's tests make a [`Subject`] and call [`check`]; what comes back names each broken rule, the table and
//! what was seen. The source must stand still while the suite runs, except where a rule says otherwise.
//!
//! **Invariant:** the suite only reads, and asks for nothing that the contract does not promise.
//!
//! Start reading at [`check`].

mod contract;
mod reading;
pub mod simulator;

pub use contract::{Breach, check};

use headwater_connect::{Connector, ConnectorError, ConnectorFactory, Options};

/// A connector, and how to reach a source for it.
pub struct Subject<'a> {
    /// Makes the instances.
    pub factory: &'a dyn ConnectorFactory,
    /// Options of the connection.
    pub connection: Options,
    /// Tables to look at, with their options; all that are listed where empty.
    pub tables: Vec<(String, Options)>,
    /// Texts that no error may show.
    pub secrets: Vec<String>,
    /// Reads after which a stream that has not settled never will.
    pub max_reads: usize,
}

impl<'a> Subject<'a> {
    /// Looks at every table, without table options.
    pub fn new(factory: &'a dyn ConnectorFactory, connection: Options) -> Self {
        Self { factory, connection, tables: Vec::new(), secrets: Vec::new(), max_reads: 10_000 }
    }

    /// A new instance for one table, made as the engine makes it.
    pub(crate) async fn connect(
        &self,
        table: &str,
        options: &Options,
    ) -> Result<Box<dyn Connector>, ConnectorError> {
        let mut merged = self.connection.merged(options);
        merged.set("tableName", table);
        self.factory.connect(&merged).await
    }
}
