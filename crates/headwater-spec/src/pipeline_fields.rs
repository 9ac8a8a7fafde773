//! The fields of a pipeline spec.

use crate::fields::{Field, ObjectKind, Rest, Rule, Shape, TextRule};

const LINE: Shape = Shape::Text(TextRule::Line);
const LAKE: Shape = Shape::Text(TextRule::LakeName);

/// Most clustering columns that a Delta table has.
const MAX_CLUSTER_COLUMNS: usize = 4;
/// Most columns that a list may name.
const MAX_COLUMNS: usize = 10_000;

const CONNECTION_NAME: Field =
    Field::new("connection_name", LINE, "Name of the connection that the tables are read through.")
        .example("\"my_wiki\"");
const OBJECTS: Field = Field::new(
    "objects",
    Shape::List { of: &OBJECT, empty: false },
    "What is read: single tables, or all tables of a namespace or of the connector.",
)
.example(r#"[{"table": {"source_table": "pages"}}]"#);
const DEFAULTS: Field = Field::new(
    "table_configuration",
    Shape::Object(&TABLE_CONFIGURATION),
    "Settings of every table here; a table's own settings go before them.",
)
.example(r#"{"on_bad_record": "quarantine"}"#);

pub(crate) static PIPELINE: ObjectKind = ObjectKind {
    name: "pipeline",
    about: "A pipeline. Short form: `connection_name` and `objects` at the top. Full form: `ingestion_definition` holds them. The other fields go with either.",
    fields: &[
        Field::new("name", LINE, "Name of the pipeline. Without it, the file's name counts.")
            .example("\"wiki\""),
        Field::new("id", LINE, "Identifier of the pipeline, kept as given.").example("\"5f3a0c1e\""),
        Field::new("catalog", LAKE, "Catalog of tables whose object names none.").example("\"main\""),
        Field::new(
            "schema",
            LAKE,
            "Schema of tables whose object names none. `target` is another name for it.",
        )
        .alias("target")
        .example("\"wiki\""),
        CONNECTION_NAME,
        OBJECTS,
        DEFAULTS,
        Field::new(
            "ingestion_definition",
            Shape::Object(&INGESTION),
            "Connection and objects, as the public pipelines API nests them.",
        )
        .example(r#"{"connection_name": "my_wiki", "objects": [{"table": {"source_table": "pages"}}]}"#),
        Field::new(
            "event_log",
            Shape::Object(&EVENT_LOG),
            "Where the event log goes, if not to `event_log` in the pipeline's schema.",
        )
        .example(r#"{"name": "wiki_events"}"#),
        Field::new(
            "trigger",
            Shape::Object(&TRIGGER),
            "When the pipeline runs by itself. `schedule` is another name for it.",
        )
        .alias("schedule")
        .example(r#"{"cron": {"quartz_cron_schedule": "0 30 6 * * ?", "timezone_id": "Europe/Paris"}}"#),
        Field::new("continuous", Shape::Flag, "Start the next update when one ends.").example("false"),
        Field::new("development", Shape::Flag, "Development mode: no retries of a failed update.")
            .example("false"),
        Field::new("configuration", Shape::Texts, "Named texts, kept with the pipeline.")
            .example(r#"{"team": "data"}"#),
        Field::new("tags", Shape::Texts, "Tags, kept with the pipeline.").example(r#"{"cost_center": "42"}"#),
        Field::ignored("allow_duplicate_names", "Names of pipelines are unique here."),
        Field::ignored("budget_policy_id", "There is no billing here."),
        Field::ignored("channel", "There is one engine, the one that is installed."),
        Field::ignored("clusters", "An update runs on one machine; `memory` in the project file bounds it."),
        Field::ignored("creator_user_name", "There are no user accounts here."),
        Field::ignored("deployment", "The spec itself is what is deployed."),
        Field::ignored("dry_run", "`headwater plan` shows what a run would do."),
        Field::ignored("edition", "There are no editions."),
        Field::ignored("environment", "A connector brings its own environment."),
        Field::ignored("expected_last_modified", "It guards edits through the API, not a file."),
        Field::ignored("filters", "Only connectors run here, no notebooks or files."),
        Field::ignored("gateway_definition", "Connectors read the source directly."),
        Field::ignored("libraries", "Only connectors run here, no notebooks or files."),
        Field::ignored("lifecycle", "It belongs to deployment tools."),
        Field::ignored("notifications", "The event log tells what happened."),
        Field::ignored("parameters", "Connectors take table options instead."),
        Field::ignored("permissions", "Access to files and storage is theirs to grant."),
        Field::ignored("photon", "There is one engine."),
        Field::ignored("restart_window", "Updates are not restarted by a service."),
        Field::ignored("root_path", "Only connectors run here, no notebooks or files."),
        Field::ignored("run_as", "An update runs as the user that starts it."),
        Field::ignored("run_as_user_name", "An update runs as the user that starts it."),
        Field::ignored("serverless", "There is no cluster to choose."),
        Field::ignored("storage", "The project file names the warehouse."),
        Field::ignored("usage_policy_id", "There is no billing here."),
    ],
    rest: Rest::Refused,
    rules: &[
        Rule::NotBoth("ingestion_definition", "connection_name"),
        Rule::NotBoth("ingestion_definition", "objects"),
        Rule::NotBoth("ingestion_definition", "table_configuration"),
        Rule::NeededUnless("ingestion_definition", "connection_name"),
        Rule::NeededUnless("ingestion_definition", "objects"),
    ],
};

static INGESTION: ObjectKind = ObjectKind {
    name: "ingestion_definition",
    about: "What is ingested, and through which connection.",
    fields: &[
        CONNECTION_NAME.required(),
        OBJECTS.required(),
        DEFAULTS,
        Field::ignored("connector_type", "The connection knows its connector."),
        Field::ignored("full_refresh_window", "A full refresh runs when it is asked for."),
        Field::ignored("ingest_from_uc_foreign_catalog", "Tables are read through a connection only."),
        Field::ignored("ingestion_gateway_id", "Connectors read the source directly."),
        Field::ignored("netsuite_jar_path", "Connectors bring what they need."),
        Field::ignored("source_configurations", "Connectors take table options instead."),
        Field::ignored("source_type", "The connection knows its connector."),
    ],
    rest: Rest::Refused,
    rules: &[],
};

static OBJECT: ObjectKind = ObjectKind {
    name: "object",
    about: "One table, or all tables of a namespace or of the connector.",
    fields: &[
        Field::new("table", Shape::Object(&TABLE), "One table.").example(r#"{"source_table": "pages"}"#),
        Field::new(
            "schema",
            Shape::Object(&SCHEMA),
            "All tables of a namespace, or of the connector where no namespace is named. A table that has an object of its own is left to that object.",
        )
        .example(r#"{"source_schema": "shop", "exclude_tables": ["drafts"]}"#),
    ],
    rest: Rest::Refused,
    rules: &[Rule::ExactlyOne(&["table", "schema"])],
};

const SOURCE_SCHEMA: &str = "Namespace of the source, for connectors that have namespaces.";

static TABLE: ObjectKind = ObjectKind {
    name: "table",
    about: "A table of the source, and where it lands.",
    fields: &[
        Field::new("source_table", LINE, "Name of the table in the source.").required().example("\"pages\""),
        Field::new("source_schema", LINE, SOURCE_SCHEMA).example("\"shop\""),
        Field::new("source_catalog", LINE, "Catalog of the source. Kept; connectors of today do not use it.")
            .example("\"prod\""),
        Field::new("destination_catalog", LAKE, "Catalog that the table lands in.").example("\"main\""),
        Field::new("destination_schema", LAKE, "Schema that the table lands in.").example("\"wiki\""),
        Field::new("destination_table", LAKE, "Name of the table in the lake. Without it, `source_table`.")
            .example("\"wiki_pages\""),
        Field::new("table_configuration", Shape::Object(&TABLE_CONFIGURATION), "Settings of this table.")
            .example(r#"{"scd_type": "SCD_TYPE_1"}"#),
    ],
    rest: Rest::Refused,
    rules: &[Rule::LakeNameUnless("destination_table", "source_table")],
};

static SCHEMA: ObjectKind = ObjectKind {
    name: "schema",
    about: "All tables of a namespace, or of the connector.",
    fields: &[
        Field::new("source_schema", LINE, SOURCE_SCHEMA).example("\"shop\""),
        Field::new("source_catalog", LINE, "Catalog of the source. Kept; connectors of today do not use it.")
            .example("\"prod\""),
        Field::new("destination_catalog", LAKE, "Catalog that the tables land in.").example("\"main\""),
        Field::new("destination_schema", LAKE, "Schema that the tables land in.").example("\"wiki\""),
        Field::new(
            "exclude_tables",
            Shape::Names { most: MAX_COLUMNS, empty: true },
            "Tables to leave out. `exclude` is another name for it.",
        )
        .alias("exclude")
        .example(r#"["drafts"]"#),
        Field::new(
            "table_configuration",
            Shape::Object(&TABLE_CONFIGURATION),
            "Settings of each of the tables.",
        )
        .example(r#"{"scd_type": "SCD_TYPE_1"}"#),
    ],
    rest: Rest::Refused,
    rules: &[],
};

pub(crate) const SCD_TYPES: &[&str] = &["SCD_TYPE_1", "SCD_TYPE_2", "APPEND_ONLY"];
pub(crate) const ON_BAD_RECORD: &[&str] = &["fail", "quarantine", "null"];

const COLUMNS: Shape = Shape::Names { most: MAX_COLUMNS, empty: false };

pub(crate) static TABLE_CONFIGURATION: ObjectKind = ObjectKind {
    name: "table_configuration",
    about: "Settings of a table. The names below are ours, in any case; every other name is an option for the connector, handed on as text (a list or a map as JSON text).",
    fields: &[
        Field::new("scd_type", Shape::Choice(SCD_TYPES), "What the table keeps: current rows (`SCD_TYPE_1`), their history (`SCD_TYPE_2`), or every record as it came (`APPEND_ONLY`). In any case.")
            .example("\"SCD_TYPE_1\""),
        Field::new("primary_keys", COLUMNS, "Columns that together name a record, where the connector's are not right. A list, or one text with commas.")
            .example(r#"["id"]"#),
        Field::new("sequence_by", LINE, "Column that orders the changes of a record, or a path `a.b` into a struct column. Without it, the connector's cursor field.")
            .example("\"updated_at\""),
        Field::new("track_history_columns", COLUMNS, "With `SCD_TYPE_2`: the only columns whose changes begin a new record of the history; a change of another column replaces values in the record. A list, or one text with commas.")
            .example(r#"["status", "total"]"#),
        Field::new("track_history_except_columns", COLUMNS, "With `SCD_TYPE_2`: columns whose changes begin no new record of the history. A list, or one text with commas.")
            .example(r#"["updated_at"]"#),
        Field::new("tombstone_retention", Shape::Text(TextRule::Retention), "How long deletions are remembered, so that changes from before them that come later are recognised: a number and `s`, `m`, `h`, `d` or `w`. `keep`, the default, is for ever.")
            .example("\"30d\""),
        Field::new("deletion_vectors", Shape::Flag, "Whether replaced rows are marked in deletion vectors, which some readers refuse, or their files are rewritten (`false`). Without it, a new table has them, and one that there is stays as it is.")
            .example("false"),
        Field::new("cluster_by", Shape::Names { most: MAX_CLUSTER_COLUMNS, empty: false }, "Columns that the table is clustered by, four at most. A list, or one text with commas.")
            .example(r#"["wiki", "timestamp"]"#),
        Field::new("include_columns", COLUMNS, "The only columns to take. A list, or one text with commas.")
            .example(r#"["id", "title"]"#),
        Field::new("exclude_columns", COLUMNS, "Columns to leave out. A list, or one text with commas. Where `sequence_by` is among them, its values are kept in a column `__SEQUENCE`.")
            .example(r#"["content"]"#),
        Field::new("on_bad_record", Shape::Choice(ON_BAD_RECORD), "What becomes of a record with a value that does not fit its column: the flow ends (`fail`, the default), the record goes to `<table>__quarantine` (`quarantine`), or the value becomes null (`null`, in quotes or not).")
            .example("\"quarantine\""),
    ],
    rest: Rest::Options,
    rules: &[
        Rule::NotBoth("include_columns", "exclude_columns"),
        Rule::NotBoth("track_history_columns", "track_history_except_columns"),
    ],
};

static EVENT_LOG: ObjectKind = ObjectKind {
    name: "event_log",
    about: "Where the event log goes.",
    fields: &[
        Field::new("catalog", LAKE, "Its catalog; the pipeline's without it.").example("\"main\""),
        Field::new("schema", LAKE, "Its schema; the pipeline's without it.").example("\"ops\""),
        Field::new("name", LAKE, "Its table; `event_log` without it.").example("\"wiki_events\""),
    ],
    rest: Rest::Refused,
    rules: &[],
};

static TRIGGER: ObjectKind = ObjectKind {
    name: "trigger",
    about: "When the pipeline runs by itself.",
    fields: &[
        Field::new("cron", Shape::Object(&CRON), "At the instants of a cron expression.")
            .example(r#"{"quartz_cron_schedule": "0 30 6 * * ?"}"#),
        Field::new("periodic", Shape::Object(&PERIODIC), "Every so often.")
            .example(r#"{"interval": 2, "unit": "HOURS"}"#),
        Field::new("manual", Shape::Object(&MANUAL), "Only when asked.").example("{}"),
    ],
    rest: Rest::Refused,
    rules: &[Rule::ExactlyOne(&["cron", "periodic", "manual"])],
};

pub(crate) const PAUSE: &[&str] = &["PAUSED", "UNPAUSED"];
pub(crate) const UNITS: &[&str] = &["MINUTES", "HOURS", "DAYS", "WEEKS"];

const PAUSE_STATUS: Field =
    Field::new("pause_status", Shape::Choice(PAUSE), "`PAUSED` keeps the schedule without running it.")
        .example("\"UNPAUSED\"");

static CRON: ObjectKind = ObjectKind {
    name: "cron",
    about: "A cron expression in Quartz form.",
    fields: &[
        Field::new("quartz_cron_schedule", Shape::Text(TextRule::Cron), "Seconds, minutes, hours, day of month, month, day of week, and a year if wanted. One of the two days is `?`. `quartz_cron_expression` is another name for it.")
            .alias("quartz_cron_expression")
            .required()
            .example("\"0 30 6 * * ?\""),
        Field::new("timezone_id", Shape::Text(TextRule::TimeZone), "Time zone of the expression; `UTC` without it.")
            .example("\"Europe/Paris\""),
        PAUSE_STATUS,
    ],
    rest: Rest::Refused,
    rules: &[],
};

static PERIODIC: ObjectKind = ObjectKind {
    name: "periodic",
    about: "A period.",
    fields: &[
        Field::new("interval", Shape::Integer { min: 1, max: 1_000_000 }, "How many units.")
            .required()
            .example("2"),
        Field::new("unit", Shape::Choice(UNITS), "The unit.").required().example("\"HOURS\""),
        PAUSE_STATUS,
    ],
    rest: Rest::Refused,
    rules: &[],
};

static MANUAL: ObjectKind =
    ObjectKind { name: "manual", about: "Nothing to set.", fields: &[], rest: Rest::Refused, rules: &[] };
