//! Prints the OpenAPI document of all routes: `cargo run -p ulex-server --example openapi`.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{}", ulex_server::openapi_json())
}
