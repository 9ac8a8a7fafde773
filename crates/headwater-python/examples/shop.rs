//! A connector in Rust as an executable of its own: nothing more is needed than to hand its factory to `serve`.
//!
//! `headwater connector add shop --command target/release/examples/shop` makes it a connector of a project.

use headwater_source_example::ExampleFactory;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), headwater_connect::ServeError> {
    headwater_connect::serve(ExampleFactory::new()).await
}
