//! Builds a pipeline spec from a checked document, and finds what only shows when its parts are seen together.

use std::collections::HashMap;

use headwater_connect::Options;

use crate::check::{self, Checked, join};
use crate::diagnostic::{Complaints, Parsed, Problem, SpecErrors};
use crate::node::shown;
use crate::pipeline::{
    EventLogSpec, Object, OnBadRecord, PeriodUnit, PipelineSpec, Retention, ScdType, Schedule, SchemaObject,
    TableConfiguration, TableObject, Trigger,
};
use crate::pipeline_fields::PIPELINE;

/// What `on_bad_record: quarantine` adds to a table's name.
const QUARANTINE_SUFFIX: &str = "__quarantine";
/// Name of the event log's table where the spec gives none.
const EVENT_LOG_TABLE: &str = "event_log";

pub(crate) fn parse(text: &str, file: &str) -> Result<Parsed<PipelineSpec>, SpecErrors> {
    let (mut complaints, checked) = check::document(text, file, &PIPELINE);
    let spec = checked.and_then(|top| build(&top, &mut complaints));
    complaints.finish(spec)
}

fn build(top: &Checked, complaints: &mut Complaints) -> Option<PipelineSpec> {
    let nested = top.object("ingestion_definition");
    let definition = nested.unwrap_or(top);
    let defaults = configuration(definition, None, complaints);
    let objects: Vec<Object> = definition
        .list("objects")
        .into_iter()
        .flatten()
        .filter_map(|entry| object(entry, &defaults, complaints))
        .collect();
    let event_log = top.object("event_log").map(|log| EventLogSpec {
        catalog: log.text("catalog"),
        schema: log.text("schema"),
        name: log.text("name"),
    });
    let spec = PipelineSpec {
        name: top.text("name"),
        id: top.text("id"),
        catalog: top.text("catalog"),
        schema: top.text("schema"),
        // Its absence was reported; the rest of the document is still looked at.
        connection_name: definition.text("connection_name").unwrap_or_default(),
        objects,
        event_log,
        schedule: top.object("trigger").and_then(schedule),
        continuous: top.flag("continuous"),
        development: top.flag("development"),
        configuration: top.texts("configuration").cloned().unwrap_or_default(),
        tags: top.texts("tags").cloned().unwrap_or_default(),
        nested: nested.is_some(),
    };
    if spec.continuous() && spec.schedule.as_ref().is_some_and(|s| s.trigger != Trigger::Manual) {
        let detail = "a continuous pipeline has no schedule".to_owned();
        let (place, path) = (top.place_of("trigger"), top.path_of("trigger"));
        complaints.add(place, &path, Problem::Contradiction { detail }, |d| {
            d.hint("take out `continuous` or the schedule")
        });
    }
    destinations(&spec, complaints);
    Some(spec)
}

fn object(entry: &Checked, defaults: &TableConfiguration, complaints: &mut Complaints) -> Option<Object> {
    if let Some(table) = entry.object("table") {
        let source_table = table.text("source_table")?;
        let destination_table = table.text("destination_table");
        return Some(Object::Table(TableObject {
            source_table,
            namespace: table.text("source_schema"),
            source_catalog: table.text("source_catalog"),
            destination_catalog: table.text("destination_catalog"),
            destination_schema: table.text("destination_schema"),
            destination_table,
            configuration: configuration(table, Some(defaults), complaints),
            path: table.path.clone(),
        }));
    }
    let schema = entry.object("schema")?;
    Some(Object::Schema(SchemaObject {
        namespace: schema.text("source_schema"),
        source_catalog: schema.text("source_catalog"),
        destination_catalog: schema.text("destination_catalog"),
        destination_schema: schema.text("destination_schema"),
        exclude: schema.names("exclude_tables").unwrap_or_default(),
        configuration: configuration(schema, Some(defaults), complaints),
        path: schema.path.clone(),
    }))
}

fn configuration(
    parent: &Checked,
    defaults: Option<&TableConfiguration>,
    complaints: &mut Complaints,
) -> TableConfiguration {
    let mut base = defaults.cloned().unwrap_or_default();
    let Some(own) = parent.object("table_configuration") else {
        if defaults.is_some() && base.scd_type != Some(ScdType::Type2) {
            (base.track_history_columns, base.track_history_except_columns) = (None, None);
        }
        return base;
    };
    let mut connector_options = Options::new();
    for (key, node) in &own.rest {
        connector_options.set(key.text.clone(), node.option_text());
    }
    let (include, exclude) = (own.names("include_columns"), own.names("exclude_columns"));
    // Either list replaces both of the defaults: they exclude each other.
    let columns_are_own = include.is_some() || exclude.is_some();
    let scd_type = own.choice("scd_type").and_then(|name| self::scd_type(name)).or(base.scd_type);
    let (mut tracked, mut untracked) =
        (own.names("track_history_columns"), own.names("track_history_except_columns"));
    if tracked.is_none() && untracked.is_none() {
        (tracked, untracked) = (base.track_history_columns, base.track_history_except_columns);
        // Defaults are for those tables that they fit.
        if defaults.is_some() && scd_type != Some(ScdType::Type2) {
            (tracked, untracked) = (None, None);
        }
    }
    let made = TableConfiguration {
        scd_type,
        primary_keys: own.names("primary_keys").or(base.primary_keys),
        sequence_by: own.text("sequence_by").or(base.sequence_by),
        track_history_columns: tracked,
        track_history_except_columns: untracked,
        tombstone_retention: own
            .text("tombstone_retention")
            .and_then(|text| check::retention(&text))
            .map(|length| length.map_or(Retention::Keep, Retention::For))
            .or(base.tombstone_retention),
        deletion_vectors: own.flag("deletion_vectors").or(base.deletion_vectors),
        cluster_by: own.names("cluster_by").or(base.cluster_by),
        include_columns: if columns_are_own { include } else { base.include_columns },
        exclude_columns: if columns_are_own { exclude } else { base.exclude_columns },
        on_bad_record: own
            .choice("on_bad_record")
            .and_then(|name| on_bad_record(name))
            .or(base.on_bad_record),
        connector_options: base.connector_options.merged(&connector_options),
    };
    needed_columns(&made, own, complaints);
    history(&made, own, defaults.is_some(), complaints);
    made
}

/// What is said of the history must go with what is kept. Defaults of all tables say too little to be judged.
fn history(configuration: &TableConfiguration, own: &Checked, is_table: bool, complaints: &mut Complaints) {
    let keys = configuration.primary_keys.as_deref().unwrap_or_default();
    for field in ["track_history_columns", "track_history_except_columns"] {
        let Some(names) = own.names_ref(field) else { continue };
        let (place, path) = (own.place_of(field), own.path_of(field));
        if is_table && configuration.scd_type != Some(ScdType::Type2) {
            let detail = format!("`{field}` is for tables that keep their history");
            complaints.add(place, &path, Problem::Contradiction { detail }, |d| {
                d.hint("set `scd_type: SCD_TYPE_2`, or take it out")
            });
        }
        for name in names {
            if keys.iter().any(|key| key.eq_ignore_ascii_case(name)) {
                let detail = format!("`{field}` names `{}`, which is part of the key", shown(name));
                complaints.add(place, &path, Problem::Contradiction { detail }, |d| {
                    d.hint("a key never changes; take it out")
                });
            }
        }
    }
    let no_deletions = configuration.scd_type == Some(ScdType::AppendOnly);
    for field in ["tombstone_retention", "deletion_vectors"] {
        if no_deletions && own.has(field) {
            let detail = format!("`{field}` has no meaning for a table that keeps every record as it came");
            let (place, path) = (own.place_of(field), own.path_of(field));
            complaints.add(place, &path, Problem::Contradiction { detail }, |d| {
                d.hint("take it out, or set another `scd_type`")
            });
        }
    }
}

/// Columns that the table cannot do without must not be left out.
fn needed_columns(configuration: &TableConfiguration, own: &Checked, complaints: &mut Complaints) {
    let keys = configuration.primary_keys.iter().flatten().map(|name| ("primary_keys", name));
    let tracked = configuration.track_history_columns.iter().flatten();
    let tracked = tracked.map(|name| ("track_history_columns", name));
    let cluster = configuration.cluster_by.iter().flatten().map(|name| ("cluster_by", name));
    for (field, name) in keys.chain(tracked).chain(cluster) {
        let is = |other: &String| other.eq_ignore_ascii_case(name);
        let left_out = if configuration.exclude_columns.iter().flatten().any(is) {
            Some("is left out by `exclude_columns`")
        } else if configuration.include_columns.as_ref().is_some_and(|list| !list.iter().any(is)) {
            Some("is not among `include_columns`")
        } else {
            None
        };
        if let Some(how) = left_out {
            let detail = format!("column `{}` is needed by `{field}` but {how}", shown(name));
            complaints.error(own.place_of(field), &own.path_of(field), Problem::Contradiction { detail });
        }
    }
}

fn scd_type(name: &str) -> Option<ScdType> {
    [ScdType::Type1, ScdType::Type2, ScdType::AppendOnly].into_iter().find(|t| t.as_str() == name)
}

fn on_bad_record(name: &str) -> Option<OnBadRecord> {
    [OnBadRecord::Fail, OnBadRecord::Quarantine, OnBadRecord::Null].into_iter().find(|t| t.as_str() == name)
}

fn schedule(trigger: &Checked) -> Option<Schedule> {
    let paused = |of: &Checked| of.choice("pause_status").map(|status| *status == "PAUSED");
    if let Some(cron) = trigger.object("cron") {
        let expression = cron.text("quartz_cron_schedule")?;
        let timezone = cron.text("timezone_id");
        return Some(Schedule { trigger: Trigger::Cron { expression, timezone }, paused: paused(cron) });
    }
    if let Some(periodic) = trigger.object("periodic") {
        let interval = u32::try_from(periodic.integer("interval")?).ok()?;
        let unit = periodic.choice("unit")?;
        let unit = [PeriodUnit::Minutes, PeriodUnit::Hours, PeriodUnit::Days, PeriodUnit::Weeks]
            .into_iter()
            .find(|u| u.as_str() == *unit)?;
        return Some(Schedule { trigger: Trigger::Periodic { interval, unit }, paused: paused(periodic) });
    }
    trigger.object("manual").map(|_| Schedule { trigger: Trigger::Manual, paused: None })
}

/// Finds tables of the lake that two things would write. Names in the lake differ by more than case.
fn destinations(spec: &PipelineSpec, complaints: &mut Complaints) {
    let mut taken = Destinations::new(spec, None);
    for table in spec.tables() {
        let field = if table.destination_table.is_some() { "destination_table" } else { "source_table" };
        for clash in taken.add(table) {
            let path = join(&table.path, field);
            let place = complaints.source.place(&path);
            let problem = clash.problem(complaints);
            complaints.add(place, &path, problem, |d| d.hint("give one of them another `destination_table`"));
        }
    }
}

/// The tables of the lake that a pipeline writes, each with the path of what writes it.
pub(crate) struct Destinations {
    catalog: Option<String>,
    schema: Option<String>,
    names: HashMap<[Option<String>; 3], String>,
}

/// A table of the lake that something else writes already.
pub(crate) struct Clash {
    name: String,
    first_path: String,
}

impl Clash {
    pub(crate) fn problem(self, complaints: &Complaints) -> Problem {
        let first_line = complaints.source.place(&self.first_path).at.line;
        Problem::SameDestination { destination: shown(&self.name), first_path: self.first_path, first_line }
    }
}

impl Destinations {
    /// `defaults` are catalog and schema where the spec gives none, once they are known.
    pub(crate) fn new(spec: &PipelineSpec, defaults: Option<(&str, &str)>) -> Self {
        let mut this = Destinations {
            catalog: spec.catalog.clone().or(defaults.map(|(catalog, _)| catalog.to_owned())),
            schema: spec.schema.clone().or(defaults.map(|(_, schema)| schema.to_owned())),
            names: HashMap::new(),
        };
        let log = spec.event_log.clone().unwrap_or_default();
        let name = log.name.unwrap_or_else(|| EVENT_LOG_TABLE.to_owned());
        let (key, _) = this.full(log.catalog.as_deref(), log.schema.as_deref(), &name);
        this.names.insert(key, "event_log".to_owned());
        this
    }

    fn full(
        &self,
        catalog: Option<&str>,
        schema: Option<&str>,
        table: &str,
    ) -> ([Option<String>; 3], String) {
        let parts = [catalog.or(self.catalog.as_deref()), schema.or(self.schema.as_deref()), Some(table)];
        let shown = parts.iter().flatten().copied().collect::<Vec<_>>().join(".");
        (parts.map(|part| part.map(str::to_lowercase)), shown)
    }

    /// Adds what a table writes; gives those that something else writes already.
    pub(crate) fn add(&mut self, table: &TableObject) -> Vec<Clash> {
        let catalog = table.destination_catalog.as_deref();
        let schema = table.destination_schema.as_deref();
        let mut names = vec![table.destination_name().to_owned()];
        if table.configuration.on_bad_record == Some(OnBadRecord::Quarantine) {
            names.push(format!("{}{QUARANTINE_SUFFIX}", table.destination_name()));
        }
        let mut clashes = Vec::new();
        for name in names {
            let (key, name) = self.full(catalog, schema, &name);
            match self.names.get(&key) {
                Some(first) => clashes.push(Clash { name, first_path: first.clone() }),
                None => {
                    self.names.insert(key, table.path.clone());
                }
            }
        }
        clashes
    }
}
