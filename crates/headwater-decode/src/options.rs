use headwater_connect::Profile;

/// What to do with a record that does not fit the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBadRecord {
    /// The page is an error.
    #[default]
    Fail,
    /// The record is left out of the rows and handed back in [`PageReport::bad`].
    Quarantine,
    /// A value that does not fit becomes null where its column, or a struct around it, may be null.
    /// Where nothing around it may be null, the page is an error.
    Null,
}

/// How to decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeOptions {
    /// How values become text.
    pub profile: Profile,
    /// What to do with records that do not fit.
    pub on_bad_record: OnBadRecord,
    /// Rows in a full batch.
    pub batch_rows: usize,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { profile: Profile::default(), on_bad_record: OnBadRecord::default(), batch_rows: 8192 }
    }
}

/// A record that was left out of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadRecord {
    /// Which record of the page, from 0.
    pub record: u64,
    /// Path of the column that it does not fit, such as `user.id`; none where the record is not an object.
    pub column: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// The record's JSON, whole.
    pub raw: String,
}

/// What one page held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageReport {
    /// Records read, bad ones included.
    pub records: u64,
    /// Records left out of the rows, with [`OnBadRecord::Quarantine`].
    pub bad: Vec<BadRecord>,
    /// Values set to null, with [`OnBadRecord::Null`].
    pub nulled: u64,
}
