//! From the columns that records are decoded to, to the columns that are written.
//!
//! Most tables are written as they are decoded. Where changes are applied by key, the key and the sequence must be
//! there, which the decoder sees to; the sequence may lie inside a struct, or in a column that is not kept; and a
//! deletion has no other columns.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StructArray, new_null_array};
use arrow_schema::{ArrowError, DataType as ArrowType, SchemaRef};
use headwater_connect::{DataType, StructField, StructType};
use headwater_lake::SEQUENCE;

/// What a column is to a table whose changes are applied by key.
const OF_KEY: &str = "which is part of its key";
const OF_SEQUENCE: &str = "which orders its changes";

/// How decoded columns become written ones.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    decoded: StructType,
    written: SchemaRef,
    /// What each written column is made of; `None` where both are the same.
    sources: Option<Vec<Source>>,
    keys: Vec<String>,
    sequence: Option<Path>,
}

/// Where the values of a written column come from.
#[derive(Debug, Clone)]
enum Source {
    /// The decoded column of this number.
    Decoded(usize),
    /// The field at the path of these numbers, from the decoded column on.
    Within(Vec<usize>),
    /// Nowhere: all null.
    Nothing,
}

/// A column of a schema, or a field inside struct columns: the names on the way, outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Vec<String>);

impl Path {
    /// Finds `name` in `schema`: a column of that name, or else a path with dots, exactly or else in any case.
    pub(crate) fn find(schema: &StructType, name: &str) -> Option<Self> {
        let field = |of: &StructType, name: &str| {
            of.field(name).or_else(|| of.field_ignore_case(name)).map(|field| field.name.clone())
        };
        if let Some(column) = field(schema, name) {
            return Some(Self(vec![column]));
        }
        let mut names = Vec::new();
        let mut within = schema;
        let mut parts = name.split('.').peekable();
        while let Some(part) = parts.next() {
            let found = field(within, part)?;
            let data_type = &within.field(&found)?.data_type;
            names.push(found);
            match (data_type, parts.peek()) {
                (DataType::Struct(inner), Some(_)) => within = inner,
                (_, Some(_)) => return None,
                (_, None) => {}
            }
        }
        Some(Self(names))
    }

    /// The top-level column that it starts in.
    pub(crate) fn column(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// The path with dots.
    pub(crate) fn text(&self) -> String {
        self.0.join(".")
    }

    /// The field that it leads to.
    pub(crate) fn field<'a>(&self, schema: &'a StructType) -> Option<&'a StructField> {
        let (last, above) = self.0.split_last()?;
        let mut within = schema;
        for name in above {
            match &within.field(name)?.data_type {
                DataType::Struct(inner) => within = inner,
                _ => return None,
            }
        }
        within.field(last)
    }

    /// The column that it starts in, with nothing null on the way; `only` leaves out what is beside it.
    fn required(&self, column: &StructField, only: bool) -> StructField {
        fn of(field: &StructField, rest: &[String], only: bool) -> StructField {
            let mut made = StructField { nullable: false, ..field.clone() };
            if let (Some((next, rest)), DataType::Struct(inner)) = (rest.split_first(), &field.data_type) {
                let kept = inner.fields.iter().filter(|field| !only || field.name == *next);
                let inner =
                    kept.map(|field| if field.name == *next { of(field, rest, only) } else { field.clone() });
                made.data_type = DataType::Struct(StructType::new(inner));
            }
            made
        }
        of(column, self.0.get(1..).unwrap_or_default(), only)
    }
}

impl Columns {
    /// Columns that are written as they are decoded.
    pub(crate) fn same(schema: &StructType) -> Self {
        Self {
            decoded: schema.clone(),
            written: schema.to_arrow(),
            sources: None,
            keys: Vec::new(),
            sequence: None,
        }
    }

    /// Columns of a table whose changes are applied by `keys` in the order of `sequence`. `source` has all columns that
    /// the source has, `written` those of the table, among them [`SEQUENCE`] where the sequence has no other place.
    pub(crate) fn keyed(
        source: &StructType,
        written: &StructType,
        keys: &[String],
        sequence: Option<&Path>,
    ) -> Self {
        let of_table = |field: &&StructField| field.name != SEQUENCE;
        let mut decoded: Vec<StructField> = written.fields.iter().filter(of_table).cloned().collect();
        for field in &mut decoded {
            if keys.contains(&field.name) {
                field.nullable = false;
            }
            if let Some(sequence) = sequence.filter(|sequence| sequence.column() == field.name) {
                *field = sequence.required(field, false);
            }
        }
        add_sequence(&mut decoded, source, sequence);
        Self::made(decoded, written, keys, sequence, |_| true)
    }

    /// Columns of the deletions of such a table.
    pub(crate) fn of_deletions(
        source: &StructType,
        written: &StructType,
        keys: &[String],
        sequence: Option<&Path>,
    ) -> Self {
        let of_key = written.fields.iter().filter(|field| keys.contains(&field.name));
        let mut decoded: Vec<StructField> =
            of_key.map(|field| StructField { nullable: false, ..field.clone() }).collect();
        add_sequence(&mut decoded, source, sequence);
        let holds = |name: &str| keys.iter().any(|key| key == name);
        Self::made(decoded, written, keys, sequence, holds)
    }

    fn made(
        decoded: Vec<StructField>,
        written: &StructType,
        keys: &[String],
        sequence: Option<&Path>,
        holds: impl Fn(&str) -> bool,
    ) -> Self {
        let decoded = StructType::new(decoded);
        let numbers = sequence.and_then(|sequence| numbers(&decoded, sequence));
        let place = |name: &str| decoded.fields.iter().position(|field| field.name == name);
        let of = |field: &StructField| match (&numbers, sequence) {
            (Some(numbers), _) if field.name == SEQUENCE => Source::Within(numbers.clone()),
            // A deletion that names its sequence in a struct has that field of the struct only.
            (Some(_), Some(path)) if path.column() == field.name => {
                place(&field.name).map_or(Source::Nothing, Source::Decoded)
            }
            _ if holds(&field.name) => place(&field.name).map_or(Source::Nothing, Source::Decoded),
            _ => Source::Nothing,
        };
        let sources = written.fields.iter().map(of).collect();
        Self {
            decoded,
            written: written.to_arrow(),
            sources: Some(sources),
            keys: keys.to_vec(),
            sequence: sequence.cloned(),
        }
    }

    /// What the decoder is asked for.
    pub(crate) fn decoded(&self) -> &StructType {
        &self.decoded
    }

    /// What the column at a path is to the table, where a row cannot do without it.
    pub(crate) fn role_of(&self, path: &str) -> Option<&'static str> {
        let within = |path: &str, column: &str| {
            path.strip_prefix(column).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if self.keys.iter().any(|key| within(path, key)) {
            return Some(OF_KEY);
        }
        let sequence = self.sequence.as_ref()?.text();
        (within(path, &sequence) || within(&sequence, path)).then_some(OF_SEQUENCE)
    }

    /// Makes the batch that is written of the one that was decoded.
    ///
    /// # Errors
    /// Columns that do not make a batch, which is a defect of this module or of the decoder.
    pub(crate) fn written(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let Some(sources) = &self.sources else { return Ok(batch) };
        let rows = batch.num_rows();
        let columns = self.written.fields().iter().zip(sources).map(|(field, source)| {
            let target = field.data_type();
            match source {
                Source::Nothing => Ok(new_null_array(target, rows)),
                Source::Decoded(number) => retyped(batch.column(*number), target),
                Source::Within(numbers) => retyped(&within(&batch, numbers)?, target),
            }
        });
        let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.written), columns, &options)
    }
}

/// Adds what leads to the sequence, where its column is not among those decoded.
fn add_sequence(decoded: &mut Vec<StructField>, source: &StructType, sequence: Option<&Path>) {
    let Some(sequence) = sequence else { return };
    if decoded.iter().any(|field| field.name == sequence.column()) {
        return;
    }
    if let Some(column) = source.field(sequence.column()) {
        decoded.push(sequence.required(column, true));
    }
}

/// The numbers of the fields on the way.
fn numbers(schema: &StructType, path: &Path) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    let mut within = Some(schema);
    for name in &path.0 {
        let fields = &within?.fields;
        let number = fields.iter().position(|field| field.name == *name)?;
        numbers.push(number);
        within = match &fields.get(number)?.data_type {
            DataType::Struct(inner) => Some(inner),
            _ => None,
        };
    }
    Some(numbers)
}

fn within(batch: &RecordBatch, numbers: &[usize]) -> Result<ArrayRef, ArrowError> {
    let missing = || ArrowError::SchemaError("the sequence is not where it was decoded to".into());
    let (first, rest) = numbers.split_first().ok_or_else(missing)?;
    let mut array = batch.columns().get(*first).ok_or_else(missing)?.clone();
    for number in rest {
        let inner =
            array.as_struct_opt().and_then(|outer| outer.columns().get(*number)).ok_or_else(missing)?;
        array = inner.clone();
    }
    Ok(array)
}

/// The same values in a type that differs in what may be null, or that has more fields, which are null then.
fn retyped(array: &ArrayRef, target: &ArrowType) -> Result<ArrayRef, ArrowError> {
    let (Some(outer), ArrowType::Struct(fields)) = (array.as_struct_opt(), target) else {
        return Ok(array.clone());
    };
    if array.data_type() == target {
        return Ok(array.clone());
    }
    let columns = fields.iter().map(|field| match outer.column_by_name(field.name()) {
        Some(inner) => retyped(inner, field.data_type()),
        None => Ok(new_null_array(field.data_type(), outer.len())),
    });
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, outer.nulls().cloned())?))
}

#[cfg(test)]
mod tests {
    use headwater_connect::{DataType, Page, StructField, StructType};
    use headwater_decode::{DecodeOptions, Decoder, OnBadRecord};
    use headwater_lake::SEQUENCE;
    use serde_json::{Value, json};

    use super::{Columns, Path};

    fn source() -> StructType {
        let at = StructType::new([
            StructField::nullable("Seconds", DataType::Long),
            StructField::nullable("zone", DataType::String),
        ]);
        StructType::new([
            StructField::nullable("id", DataType::Long),
            StructField::nullable("name", DataType::String),
            StructField::nullable("at", DataType::Struct(at)),
            StructField::nullable("a.b", DataType::Long),
        ])
    }

    fn only(names: &[&str], sequence: Option<&Path>) -> StructType {
        let source = source();
        let mut fields: Vec<StructField> =
            source.fields.iter().filter(|field| names.contains(&field.name.as_str())).cloned().collect();
        if let Some(field) = sequence.and_then(|path| path.field(&source)) {
            fields.push(StructField::nullable(SEQUENCE, field.data_type.clone()));
        }
        StructType::new(fields)
    }

    /// The batch that is written of these records, and what was bad.
    fn written(columns: &Columns, records: Value) -> (String, Vec<Option<&'static str>>) {
        let options = DecodeOptions { on_bad_record: OnBadRecord::Quarantine, ..DecodeOptions::default() };
        let mut decoder = Decoder::new(columns.decoded(), options).unwrap();
        let report = decoder.push(&Page::json_array(records.to_string().into_bytes())).unwrap();
        let bad = report.bad.iter().map(|bad| columns.role_of(bad.column.as_deref().unwrap())).collect();
        let batch = columns.written(decoder.finish().unwrap().unwrap()).unwrap();
        let columns: Vec<String> = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| format!("{} {}", field.name(), values(column)))
            .collect();
        (columns.join("; "), bad)
    }

    fn values(column: &arrow_array::ArrayRef) -> String {
        use arrow_array::Array;
        use arrow_array::cast::AsArray;
        use arrow_array::types::Int64Type;
        let texts: Vec<String> = (0..column.len())
            .map(|row| match column.data_type() {
                _ if column.is_null(row) => "-".into(),
                arrow_schema::DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
                arrow_schema::DataType::Struct(_) => {
                    let inner = column.as_struct().columns().iter();
                    inner.map(|inner| values(&inner.slice(row, 1))).collect::<Vec<_>>().join("/")
                }
                _ => column.as_string::<i32>().value(row).to_owned(),
            })
            .collect();
        texts.join(",")
    }

    #[test]
    fn paths_are_found_in_any_case_and_a_name_with_a_dot_first() {
        let check = |name: &str, expect: Option<&[&str]>| {
            let found = Path::find(&source(), name);
            assert_eq!(
                found.map(|path| path.0),
                expect.map(|names| names.iter().map(|n| (*n).to_owned()).collect())
            );
        };
        check("ID", Some(&["id"]));
        check("at.seconds", Some(&["at", "Seconds"]));
        check("a.b", Some(&["a.b"]));
        check("at", Some(&["at"]));
        check("at.nanos", None);
        check("id.x", None);
        check("", None);
    }

    #[test]
    fn a_row_without_its_key_or_its_sequence_is_bad() {
        let sequence = Path::find(&source(), "at.seconds").unwrap();
        let table = only(&["id", "name", "at"], None);
        let columns = Columns::keyed(&source(), &table, &["id".into()], Some(&sequence));
        let (rows, bad) = written(
            &columns,
            json!([
                {"id": 1, "name": "a", "at": {"Seconds": 5, "zone": "Z"}},
                {"id": null, "at": {"Seconds": 5}},
                {"id": "x", "at": {"Seconds": 5}},
                {"id": 2},
                {"id": 2, "at": {"zone": "Z"}},
                {"id": 3, "at": {"Seconds": 7}},
            ]),
        );
        assert_eq!(rows, "id 1,3; name a,-; at 5/Z,7/-");
        let (key, sequence) = (Some("which is part of its key"), Some("which orders its changes"));
        assert_eq!(bad, [key, key, sequence, sequence]);
        assert_eq!(columns.role_of("name"), None);
    }

    #[test]
    fn a_sequence_that_is_not_kept_has_a_column_of_its_own() {
        for name in ["at.seconds", "a.b"] {
            let sequence = Path::find(&source(), name).unwrap();
            let table = only(&["id", "name"], Some(&sequence));
            let records = json!([{"id": 1, "name": "a", "at": {"Seconds": 5, "zone": 7}, "a.b": 5}]);
            let columns = Columns::keyed(&source(), &table, &["id".into()], Some(&sequence));
            assert_eq!(written(&columns, records.clone()).0, "id 1; name a; __SEQUENCE 5");
            let columns = Columns::of_deletions(&source(), &table, &["id".into()], Some(&sequence));
            assert_eq!(written(&columns, records).0, "id 1; name -; __SEQUENCE 5");
        }
    }

    #[test]
    fn a_deletion_has_its_key_and_its_sequence_and_nothing_else() {
        let sequence = Path::find(&source(), "at.seconds").unwrap();
        let table = only(&["id", "name", "at", "a.b"], None);
        let columns = Columns::of_deletions(&source(), &table, &["id".into()], Some(&sequence));
        let (rows, bad) = written(
            &columns,
            json!([
                {"id": 1, "name": 5.5, "at": {"Seconds": 5, "zone": "Z"}},
                {"name": "a", "at": {"Seconds": 5}},
                {"id": 2, "at": null},
            ]),
        );
        assert_eq!(rows, "id 1; name -; at 5/-; a.b -");
        assert_eq!(bad, [Some("which is part of its key"), Some("which orders its changes")]);
    }
}
