//! The rules by number: what each says in a few words, and what to change where it is broken.

/// A rule of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its number in the docs of [`headwater_connect::Connector`].
    pub number: u32,
    /// What a connector that keeps it does.
    pub title: &'static str,
    /// What to change in one that does not.
    pub change: &'static str,
}

/// All rules, by number.
pub const RULES: &[Rule] = &[
    rule(
        1,
        "tables are named once and can be described",
        "list each table once, and only tables that the other methods accept",
    ),
    rule(
        2,
        "an unknown table is refused",
        "raise an error for a table that the source does not have, in each method",
    ),
    rule(
        3,
        "the schema has columns with distinct names",
        "give at least one column, and no two names that differ in case only",
    ),
    rule(
        4,
        "keys and cursor are columns",
        "name top-level columns of the schema in `primary_keys` and `cursor_field`",
    ),
    rule(
        5,
        "changes have keys and a cursor",
        "give `primary_keys` and `cursor_field`, or make the table `append` or `snapshot`",
    ),
    rule(
        6,
        "the first read starts where it should",
        "take the empty offset `{}` as the start of a stream, and no offset as that of a snapshot",
    ),
    rule(
        7,
        "a read ends once, and last",
        "end each read with one offset behind its records; a stream's is never none",
    ),
    rule(
        8,
        "a stream ends",
        "return the offset that was passed once there is nothing new, and never one from before",
    ),
    rule(9, "a snapshot ends", "return none, `{}` or the offset that was passed once all has been read"),
    rule(
        10,
        "a read resumes from any offset with the same records",
        "put all that a read depends on into its offset, and nothing into the instance",
    ),
    rule(
        11,
        "records fit the schema",
        "declare the type that the source sends; records are not converted by the connector",
    ),
    rule(12, "a read that is broken off does no harm", "let nothing of a read stay in the instance"),
    rule(13, "a foreign offset is refused", "read the offset strictly, and refuse one with other members"),
    rule(
        14,
        "deletions hold keys and cursor",
        "put the primary keys and the cursor field into each record of `read_table_deletes`",
    ),
    rule(
        15,
        "errors and logs hold no secret",
        "leave credentials out of messages: no whole URLs, headers or options",
    ),
    rule(16, "a dropped read stops", "let the stream own its tasks, so that they end with it"),
    rule(
        17,
        "the parts of a snapshot hold every record once",
        "cut the table so that each record is in one part",
    ),
    rule(
        18,
        "the parts of a stream hold what the stream gives",
        "cut what lies between the two offsets so that each record is in one part",
    ),
    rule(19, "listed namespaces have tables", "list namespaces only whose tables the other methods accept"),
    rule(
        20,
        "records hold their keys, and keys are distinct",
        "choose keys that every record has and no two records share",
    ),
    rule(
        21,
        "the cursor is there and moves forward",
        "choose a cursor field that is set in every record and grows with each change",
    ),
    rule(22, "an offset survives JSON", "read the offset's members by name, whatever their order"),
    rule(
        23,
        "new data is not chased for ever",
        "fix the end of an update when the instance is made, and read up to there",
    ),
    rule(
        24,
        "each column is filled by some record",
        "correct the column's name or place, or take it out of the schema; where the source does fill it, add such a record to the corpus, else name it in `unfilled_columns`",
    ),
    rule(
        25,
        "bad options are refused by name",
        "check options when the instance is made, and name the option in the error",
    ),
    rule(
        26,
        "passing faults of the source are survived",
        "repeat the request, or fail with an error that may be retried; never take a broken answer for the end",
    ),
    rule(
        27,
        "a batch is bounded by `max_records_per_batch`",
        "end the read at that many records, with the offset behind the last of them",
    ),
    rule(
        28,
        "a record that was created arrives",
        "let the read from the last offset find what was created after it",
    ),
    rule(
        29,
        "a record that was changed arrives",
        "let the read from the last offset find what was changed after it",
    ),
    rule(
        30,
        "a record that was deleted goes",
        "read deletions from the source's own record of them, or leave the record out of the snapshot",
    ),
];

const fn rule(number: u32, title: &'static str, change: &'static str) -> Rule {
    Rule { number, title, change }
}

impl Rule {
    /// The rule of a number; none where there is no such rule.
    pub fn of(number: u32) -> Option<&'static Rule> {
        RULES.iter().find(|rule| rule.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::RULES;

    #[test]
    fn rules_are_numbered_without_a_gap() {
        for (index, rule) in RULES.iter().enumerate() {
            assert_eq!(rule.number as usize, index + 1, "{}", rule.title);
        }
    }
}
