//! From objects to tables, once the source has said which tables there are.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::{bad_lake_name, join};
use crate::diagnostic::{Complaints, Diagnostic, Parsed, Problem, SpecErrors};
use crate::node::shown;
use crate::pipeline::{Object, PipelineSpec, SchemaObject, TableObject};
use crate::pipeline_build::Destinations;

/// Most names that a complaint lists.
const MAX_SHOWN_NAMES: usize = 50;

/// The tables of a pipeline.
#[derive(Debug, Clone)]
pub struct TableList {
    /// One object per table, in the order of the document; tables of a namespace in the order of the listing.
    pub tables: Vec<TableObject>,
    /// What looks odd, such as an excluded table that there is not.
    pub warnings: Vec<Diagnostic>,
}

/// What the source has, as far as [`PipelineSpec::namespaces_to_list`] asks for it, and what the spec leaves open.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The connector's name, for complaints.
    pub connector: String,
    /// The namespaces that were met, parts joined with dots; `None` where the connector has none.
    pub namespaces: Option<BTreeSet<String>>,
    /// The tables of each namespace that there is; those of the connector under `None`.
    pub tables: BTreeMap<Option<String>, Vec<String>>,
    /// Catalog of tables that name none, neither themselves nor through the pipeline.
    pub catalog: String,
    /// Schema of such tables.
    pub schema: String,
}

impl PipelineSpec {
    /// The namespaces whose tables must be listed for [`Parsed::expand`]; `None` stands for all tables of the
    /// connector.
    pub fn namespaces_to_list(&self) -> Vec<Option<&str>> {
        let of_schemas = self.schemas().map(|s| s.namespace.as_deref());
        let of_tables = self.tables().filter_map(|t| t.namespace.as_deref()).map(Some);
        let mut namespaces: Vec<Option<&str>> = of_schemas.chain(of_tables).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces
    }
}

impl Parsed<PipelineSpec> {
    /// Replaces objects that stand for many tables by one object per table.
    ///
    /// A table that has an object of its own is left to that object.
    ///
    /// # Errors
    /// Two tables with one destination, a source table whose name the lake cannot hold, a namespace that the source
    /// does not have, or a table that its namespace does not have.
    pub fn expand(&self, listing: &Listing) -> Result<TableList, SpecErrors> {
        let mut expansion = Expansion {
            spec: &self.value,
            listing,
            complaints: Complaints::new(self.source.clone()),
            taken: Destinations::new(&self.value, Some((&listing.catalog, &listing.schema))),
            tables: Vec::new(),
        };
        for table in self.value.tables() {
            let field = if table.destination_table.is_some() { "destination_table" } else { "source_table" };
            let hint = "give one of them another `destination_table`";
            expansion.take(table, &join(&table.path, field), hint);
        }
        for object in self.value.objects() {
            match object {
                Object::Table(table) => {
                    expansion.check(table);
                    expansion.tables.push(table.clone());
                }
                Object::Schema(schema) => expansion.schema(schema),
            }
        }
        let parsed = expansion.complaints.finish(Some(expansion.tables))?;
        Ok(TableList { tables: parsed.value, warnings: parsed.warnings })
    }
}

struct Expansion<'a> {
    spec: &'a PipelineSpec,
    listing: &'a Listing,
    complaints: Complaints,
    taken: Destinations,
    tables: Vec<TableObject>,
}

impl<'a> Expansion<'a> {
    /// Notes what a table writes, and complains at `path` where something else writes it already.
    fn take(&mut self, table: &TableObject, path: &str, hint: &str) {
        for clash in self.taken.add(table) {
            let problem = clash.problem(&self.complaints);
            self.complaints.add(self.complaints.source.place(path), path, problem, |d| d.hint(hint));
        }
    }

    fn complain<'n>(
        &mut self,
        path: &str,
        detail: String,
        written: &str,
        names: impl Iterator<Item = &'n String>,
    ) {
        let problem = Problem::Contradiction { detail };
        let names: Vec<String> = names.cloned().collect();
        self.complaints.add(self.complaints.source.place(path), path, problem, |d| {
            let mut d = d.allow_like(written, names);
            d.allowed.truncate(MAX_SHOWN_NAMES);
            d
        });
    }

    /// The tables of a namespace; complains where there is no such namespace.
    fn tables_of(&mut self, namespace: Option<&str>, path: &str) -> Option<&'a [String]> {
        let listing = self.listing;
        if let Some(tables) = listing.tables.get(&namespace.map(str::to_owned)) {
            return Some(tables);
        }
        let path = join(path, "source_schema");
        match (&listing.namespaces, namespace) {
            (Some(known), Some(namespace)) => {
                let detail = format!("the source has no namespace `{}`", shown(namespace));
                self.complain(&path, detail, namespace, known.iter());
            }
            (None, Some(_)) => {
                let detail = format!("connector `{}` has no namespaces", shown(&listing.connector));
                let problem = Problem::Contradiction { detail };
                let hint = "take `source_schema` out";
                self.complaints.add(self.complaints.source.place(&path), &path, problem, |d| d.hint(hint));
            }
            (_, None) => {
                let detail = "the tables of this object were not listed".to_owned();
                let place = self.complaints.source.place(&path);
                self.complaints.error(place, &path, Problem::Contradiction { detail });
            }
        }
        None
    }

    /// A table that names its namespace must be in it.
    fn check(&mut self, table: &TableObject) {
        let Some(namespace) = table.namespace.as_deref() else { return };
        let Some(tables) = self.tables_of(Some(namespace), &table.path) else { return };
        if !tables.contains(&table.source_table) {
            let path = join(&table.path, "source_table");
            let detail =
                format!("namespace `{}` has no table `{}`", shown(namespace), shown(&table.source_table));
            self.complain(&path, detail, &table.source_table, tables.iter());
        }
    }

    fn schema(&mut self, schema: &SchemaObject) {
        let Some(listing) = self.tables_of(schema.namespace.as_deref(), &schema.path) else { return };
        let is_called = |name: &str, excluded: &str| name.eq_ignore_ascii_case(excluded);
        for name in schema.exclude.iter().filter(|name| !listing.iter().any(|t| is_called(t, name))) {
            let path = join(&schema.path, "exclude_tables");
            let detail = format!("the source has no table `{}` to leave out", shown(name));
            let place = self.complaints.source.place(&path);
            self.complaints.add(place, &path, Problem::Doubtful { detail }, |d| {
                d.allow_like(name, listing.iter().cloned()).allow(Vec::<String>::new()).warning()
            });
        }
        for name in listing {
            let own = self.spec.tables().any(|t| t.source_table == *name && t.namespace == schema.namespace);
            if own || schema.exclude.iter().any(|excluded| is_called(name, excluded)) {
                continue;
            }
            if let Some(reason) = bad_lake_name(name) {
                let problem = Problem::BadValue { value: shown(name), reason: reason.into() };
                let hint = "give this table an object of its own with a `destination_table`, or exclude it";
                let place = self.complaints.source.place(&schema.path);
                self.complaints.add(place, &schema.path, problem, |d| d.hint(hint));
                continue;
            }
            let table = TableObject {
                source_table: name.clone(),
                namespace: schema.namespace.clone(),
                source_catalog: schema.source_catalog.clone(),
                destination_catalog: schema.destination_catalog.clone(),
                destination_schema: schema.destination_schema.clone(),
                destination_table: None,
                configuration: schema.configuration.clone(),
                path: schema.path.clone(),
            };
            let hint = format!(
                "exclude `{}` here, or give it an object of its own with a `destination_table`",
                shown(name)
            );
            self.take(&table, &schema.path, &hint);
            self.tables.push(table);
        }
    }
}
