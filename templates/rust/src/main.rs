//! Serves the connector to Headwater over standard input and output. It must not print to standard output.

use headwater_connect::ServeError;
use my_source::MySourceFactory;

#[tokio::main]
async fn main() -> Result<(), ServeError> {
    headwater_connect::serve(MySourceFactory).await
}
