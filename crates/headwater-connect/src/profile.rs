/// How values that are not text become text in a `string` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// As JSON: `true`, the shortest number, compact JSON. For Rust and declarative connectors.
    #[default]
    Json,
    /// As Python's `str()` prints them: `True`, `1e+16`, `{'a': None}`. For Python connectors.
    Python,
}
