//! Connectors in Python as different people write them, each tried from `connector add` to the second run.

use crate::python_support::{Case, connectors};

/// A test for each folder of `testing/connectors` that says what is expected of it.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                Case::of(stringify!($name)).check();
            }
        )+

        #[test]
        fn every_connector_is_tried() {
            let mut found: Vec<String> = std::fs::read_dir(connectors())
                .unwrap()
                .map(|entry| entry.unwrap())
                .filter(|entry| entry.path().join("expected.json").exists())
                .map(|entry| entry.file_name().into_string().unwrap())
                .collect();
            found.sort();
            let mut tried = vec![$(stringify!($name)),+];
            tried.sort_unstable();
            assert_eq!(found, tried);
        }
    };
}

tests![
    address_book,
    agent_desk,
    bound_session,
    branch_offices,
    chatty,
    clockwork,
    contract_breaker,
    dies,
    first_starts,
    hangs,
    harbour,
    last_calls,
    leaky,
    merged_file,
    mutator,
    odd_names,
    odd_values,
    option_cases,
    page_by_page,
    parts_depot,
    round_and_round,
    sensor_grid,
    storm,
    surroundings,
    threaded,
    ticket_desk,
];
