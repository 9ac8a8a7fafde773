use headwater_connect::{Connector, ConnectorError, ConnectorFactory, Options, Profile};
use headwater_spec::{ConnectorSpec, SkippedRule, SuiteSpec, UnfilledColumn};

use crate::{Changes, LogWatch, Stage};

/// A connector, and how to reach a source for it.
pub struct Subject<'a> {
    /// Makes the instances.
    pub factory: &'a dyn ConnectorFactory,
    /// Options of the connection.
    pub connection: Options,
    /// Tables to look at, with their options; all that are listed where empty.
    pub tables: Vec<(String, Options)>,
    /// Tables that are left out.
    pub exclude: Vec<String>,
    /// Texts that no error and no log may show, besides the options that the connector's spec calls secret.
    pub secrets: Vec<String>,
    /// Reads after which a stream that has not settled never will.
    pub max_reads: usize,
    /// Records of a table that are looked at; all of them where there is no number.
    pub sample: Option<usize>,
    /// The rules to test; all of them where empty.
    pub rules: Vec<u32>,
    /// Rules that are left out.
    pub skip: Vec<SkippedRule>,
    /// The source was made for tests: a column that none of its records fills is a mistake, not a chance.
    pub complete: bool,
    /// Columns that stay empty all the same.
    pub unfilled: Vec<UnfilledColumn>,
    /// The source, where it can be told to misbehave.
    pub stage: Option<&'a dyn Stage>,
    /// What is logged while the suite runs, where it can be watched.
    pub log: Option<LogWatch>,
    /// Changes to the source, where there is somebody to make them.
    pub changes: Option<&'a Changes<'a>>,
}

impl<'a> Subject<'a> {
    /// Looks at every table, without table options.
    pub fn new(factory: &'a dyn ConnectorFactory, connection: Options) -> Self {
        Self {
            factory,
            connection,
            tables: Vec::new(),
            exclude: Vec::new(),
            secrets: Vec::new(),
            max_reads: 10_000,
            sample: None,
            rules: Vec::new(),
            skip: Vec::new(),
            complete: false,
            unfilled: Vec::new(),
            stage: None,
            log: None,
            changes: None,
        }
    }

    /// Takes over what a `suite.yaml` says of tables and rules. Its connection is the caller's to use.
    pub fn follow(&mut self, suite: &SuiteSpec) {
        self.tables = suite
            .tables
            .iter()
            .map(|(name, options)| (name.clone(), options.iter().cloned().collect()))
            .collect();
        self.exclude.clone_from(&suite.exclude);
        self.max_reads = suite.max_reads.unwrap_or(self.max_reads);
        self.skip.clone_from(&suite.skip);
        self.unfilled.clone_from(&suite.unfilled_columns);
    }

    /// The connector's spec, where it has one that can be read.
    pub(crate) fn spec(&self) -> Option<ConnectorSpec> {
        let text = self.factory.connector_spec()?;
        ConnectorSpec::parse(text, "connector_spec.yaml").ok().map(|parsed| parsed.value)
    }

    /// Everything that must not show.
    pub(crate) fn all_secrets(&self) -> Vec<String> {
        let spec = self.spec().unwrap_or_else(ConnectorSpec::unknown);
        let tables = self.tables.iter().flat_map(|(_, options)| options.iter());
        let named = self.connection.iter().chain(tables).filter(|(name, _)| spec.is_secret(name));
        named.map(|(_, value)| value.to_owned()).chain(self.secrets.iter().cloned()).collect()
    }

    /// Says whether the connector is one in Python: it was written to another document than the rules, and is not
    /// held to what that document does not ask for.
    pub(crate) fn is_foreign(&self) -> bool {
        self.factory.profile() == Profile::Python
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
