//! From objects to tables, once the source has said which tables there are.

use std::collections::BTreeMap;

use crate::check::{bad_lake_name, join};
use crate::diagnostic::{Complaints, Diagnostic, Parsed, Problem, SpecErrors};
use crate::node::shown;
use crate::pipeline::{Object, PipelineSpec, TableObject};
use crate::pipeline_build::Destinations;

/// The tables of a pipeline.
#[derive(Debug, Clone)]
pub struct TableList {
    /// One object per table, in the order of the document; tables of a namespace in the order of the source.
    pub tables: Vec<TableObject>,
    /// What looks odd, such as an excluded table that there is not.
    pub warnings: Vec<Diagnostic>,
}

impl PipelineSpec {
    /// The namespaces whose tables must be listed for [`Parsed::expand`]; `None` stands for all tables of the
    /// connector.
    pub fn namespaces_to_list(&self) -> Vec<Option<&str>> {
        let mut namespaces: Vec<Option<&str>> = self.schemas().map(|s| s.namespace.as_deref()).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces
    }
}

impl Parsed<PipelineSpec> {
    /// Replaces objects that stand for many tables by one object per table. `listings` holds the tables of each
    /// of [`PipelineSpec::namespaces_to_list`].
    ///
    /// A table that has an object of its own is left to that object.
    ///
    /// # Errors
    /// Two tables with one destination, a source table whose name the lake cannot hold, or a listing that is not
    /// there.
    pub fn expand(&self, listings: &BTreeMap<Option<String>, Vec<String>>) -> Result<TableList, SpecErrors> {
        let mut complaints = Complaints::new(self.source.clone());
        let mut taken = Destinations::new(&self.value);
        let mut tables: Vec<TableObject> = Vec::new();
        for table in self.value.tables() {
            // Clashes between these were errors of the document already.
            taken.add(table);
        }
        for object in self.value.objects() {
            let schema = match object {
                Object::Table(table) => {
                    tables.push(table.clone());
                    continue;
                }
                Object::Schema(schema) => schema,
            };
            let place = complaints.source.place(&schema.path);
            let Some(listing) = listings.get(&schema.namespace) else {
                let detail = "the tables of this object were not listed".to_owned();
                complaints.error(place, &schema.path, Problem::Contradiction { detail });
                continue;
            };
            for name in schema.exclude.iter().filter(|name| !listing.contains(name)) {
                let path = join(&schema.path, "exclude_tables");
                let detail = format!("the source has no table `{}` to leave out", shown(name));
                complaints.add(complaints.source.place(&path), &path, Problem::Doubtful { detail }, |d| {
                    d.allow_like(name, listing.iter().cloned()).allow(Vec::<String>::new()).warning()
                });
            }
            for name in listing {
                let own =
                    self.value.tables().any(|t| t.source_table == *name && t.namespace == schema.namespace);
                if own || schema.exclude.contains(name) {
                    continue;
                }
                if let Some(reason) = bad_lake_name(name) {
                    let problem = Problem::BadValue { value: shown(name), reason: reason.into() };
                    complaints.add(place, &schema.path, problem, |d| {
                        d.hint(
                            "give this table an object of its own with a `destination_table`, or exclude it",
                        )
                    });
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
                for clash in taken.add(&table) {
                    let problem = clash.problem(&complaints);
                    complaints.add(place, &schema.path, problem, |d| {
                        d.hint(format!(
                            "exclude `{}` here, or give it an object of its own with a `destination_table`",
                            shown(name)
                        ))
                    });
                }
                tables.push(table);
            }
        }
        let parsed = complaints.finish(Some(tables))?;
        Ok(TableList { tables: parsed.value, warnings: parsed.warnings })
    }
}
